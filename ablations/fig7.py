"""Figure 7: latent masking against image masking, of MacTok."""

from harness.evaluation.collapse import COLLAPSED_SHARE
from harness.experiments.claims import Difference, Level
from harness.experiments.study import Ablation, Row

SOURCE, COLLAPSES = "Fig. 7", "the plain KL-VAE collapses"

study = Ablation(
    title="Figure 7: latent masking against image masking",
    question="Does latent masking only delay the collapse that image masking prevents?",
    published_table="",
    figure="curves",
    rungs={"kl": "collapsing"},
    rows=(
        Row("KL-VAE", "kl_vae"),
        Row("latent masking", "latent_masking"),
        Row("image masking", "image_masking"),
    ),
    fields={"finetuning.on": False, "generator.on": False},
    claims=(
        Level(COLLAPSES, SOURCE, "information_kept", "KL-VAE", COLLAPSED_SHARE, side=-1),
        Difference(
            "image masking prevents collapse",
            SOURCE,
            "information_kept",
            "image masking",
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
