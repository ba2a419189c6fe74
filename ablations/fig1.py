"""Figure 1: collapse, and what prevents it, of MacTok."""

from harness.evaluation.collapse import COLLAPSED_SHARE
from harness.experiments.claims import Difference, Level
from harness.experiments.study import Ablation, Row

SOURCE, COLLAPSES = "Fig. 1", "the plain KL-VAE collapses"

study = Ablation(
    title="Figure 1: collapse, and what prevents it",
    question="Does a plain KL-VAE collapse, with and without latent masking, and does MacTok not?",
    published_table="",
    figure="curves",
    rungs={"kl": "collapsing"},
    rows=(
        Row("KL-VAE", "kl_vae"),
        Row("latent masking", "latent_masking"),
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
        Difference(
            "latent masking delays collapse",
            SOURCE,
            "information_lost_at",
            "latent masking",
            "KL-VAE",
            side=+1,
            premise=COLLAPSES,
        ),
    ),
    notes=(
        "At the KL weight that the scale declares as `collapsing`; the tokenizers are those of the study `collapse`.",
    ),
)
