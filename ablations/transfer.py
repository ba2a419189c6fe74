"""Trained on one data set, measured on another: what a tokenizer learned beyond its images."""

from harness.experiments.study import Ablation, Row

study = Ablation(
    title="Transfer",
    question="Does a tokenizer with masking and alignment reconstruct other images better than a plain one?",
    published_table="",
    rungs={"kl": "alive"},
    fields={
        "data.name": "embedded",
        "data.argument": "",
        "evaluation.transfer": "embedded:objects=4",
        "generator.on": False,
        "finetuning.on": False,
    },
    rows=(
        Row("autoencoder", "autoencoder"),
        Row("KL-VAE", "kl_vae"),
        Row("image masking", "image_masking", base="KL-VAE"),
        Row("MacTok", "mactok"),
    ),
    notes=(
        "Trained on images of one object, measured on images of four. `--set evaluation.transfer=folder:PATH` measures "
        "on images of your own.",
    ),
)
