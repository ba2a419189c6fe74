"""Figure 11 of MacTok: collapse and the number of tokens."""

from harness.experiments.claims import Difference
from harness.experiments.study import Ablation, Row

study = Ablation(
    title="Figure 11: collapse and the number of tokens",
    question="Does a plain KL-VAE keep less information with fewer tokens?",
    published_table="",
    figure="curves",
    rungs={"kl": "collapsing"},
    rows=(
        Row("twice as many tokens", "kl_vae", times={"tokenizer.tokens": 2}),
        Row("the scale's tokens", "kl_vae"),
        Row("half as many tokens", "kl_vae", times={"tokenizer.tokens": 0.5}),
    ),
    fields={"finetuning.on": False, "generator.on": False},
    claims=(
        Difference(
            "fewer tokens keep less information",
            "Fig. 11",
            "information_kept",
            "half as many tokens",
            "twice as many tokens",
            side=-1,
        ),
    ),
)
