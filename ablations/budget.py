"""Does the order of the rows hold if all are trained longer?"""

from harness.experiments.study import Ablation, Row

VARIANTS = {"KL-VAE": "kl_vae", "+ random mask": "image_masking", "MacTok": "mactok"}

study = Ablation(
    title="Budgets",
    question="Which order of the rows holds at one, two and four times the steps of the tokenizer?",
    published_table="",
    rungs={"guidance": "each row's", "kl": "alive"},
    rows=tuple(
        Row(f"{name}, {factor} x", variant, times={} if factor == 1 else {"training.steps": float(factor)})
        for factor in (1, 2, 4)
        for name, variant in VARIANTS.items()
    ),
    notes=("All other settings are the scale's, those of the generator too; the learning rate falls over all steps.",),
)
