"""A league of tokenizers: `harness.benchmark` adds yours."""

from harness.experiments.study import Ablation, Row

study = Ablation(
    title="A league of tokenizers",
    question="How do these tokenizers reconstruct, and how well does one small generator learn their latents?",
    published_table="",
    rungs={"guidance": "each row's", "kl": "alive"},
    rows=(
        Row("autoencoder", "autoencoder"),
        Row("KL-VAE", "kl_vae"),
        Row("MacTok", "mactok"),
        Row("SoftVQ-VAE", "softvq"),
    ),
    notes=(
        "Rows that are named by a file, a module or a folder are tokenizers from outside: nothing of them is trained "
        "here but the generator. This page does not know how they were trained, and on which images.",
    ),
)
