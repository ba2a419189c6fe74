"""What the paper leaves open in the alignment of latents."""

from harness.experiments.study import Ablation, Row

study = Ablation(
    title="What is aligned",
    question="Does it matter whether the sample or the mean is aligned, and with which patches?",
    published_table="",
    rungs={"guidance": "each row's", "kl": "alive"},
    rows=(
        Row("sample, patches in a row", "mactok"),
        Row("mean", "mactok", base="sample, patches in a row", fields={"tokenizer.alignment.latents": "mean"}),
        Row(
            "interleaved patches",
            "mactok",
            base="sample, patches in a row",
            fields={"tokenizer.alignment.interleaved": True},
        ),
    ),
    notes=("Every latent token is compared with N / L patches: with as many in a row, or with every L-th.",),
)
