"""Figure 5: KL over the training, of MacTok."""

from harness.evaluation.collapse import COLLAPSED_SHARE
from harness.experiments.claims import Difference, Level
from harness.experiments.study import Ablation, Row

SOURCE, COLLAPSES = "Fig. 5a", "the plain KL-VAE collapses"

study = Ablation(
    title="Figure 5: KL over the training",
    question="Does the KL of a plain KL-VAE fall to nothing, and that of masked and aligned ones not?",
    published_table="",
    figure="curves",
    rungs={"kl": "collapsing"},
    rows=(
        Row("KL-VAE", "kl_vae"),
        Row("image masking", "image_masking"),
        Row("MacTok", "mactok"),
    ),
    fields={"finetuning.on": False, "generator.on": False},
    claims=(
        Level(COLLAPSES, SOURCE, "information_kept", "KL-VAE", COLLAPSED_SHARE, side=-1),
        Difference(
            "masking and alignment prevent collapse",
            SOURCE,
            "information_kept",
            "MacTok",
            "KL-VAE",
            side=+1,
            premise=COLLAPSES,
        ),
    ),
    notes=(
        "At the KL weight that the scale declares as `collapsing`; the tokenizers are those of the study `collapse`.",
    ),
)
