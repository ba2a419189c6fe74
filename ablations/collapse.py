"""Collapse as a diagram: how much information the latents keep over the KL weight, with every part of MacTok."""

from harness.experiments.axis import Axis
from harness.experiments.claims import Wider
from harness.experiments.study import Row
from harness.experiments.sweep import Sweep

KL_WEIGHT = "tokenizer.gaussian.kl_weight"

study = Sweep(
    title="Collapse as a diagram",
    question="Up to which KL weight do the latents keep information, and which part of MacTok moves that border?",
    rows=(
        Row("KL-VAE", "kl_vae"),
        Row("latent masking", "latent_masking"),
        Row("image masking", "image_masking"),
        Row("local alignment", "local_alignment"),
        Row("mactok", "mactok"),
        Row(
            "squared error alone",
            "kl_vae",
            fields={
                "tokenizer.dinov2_encoder": False,
                "tokenizer.perceptual.on": False,
                "tokenizer.adversarial.on": False,
            },
        ),
    ),
    rungs={"kl": "collapsing"},
    space=(
        Axis(
            KL_WEIGHT,
            "KL weight",
            grid=(1 / 300, 1 / 30, 1 / 10, 1 / 3, 1.0),
            low=1e-4,
            high=10.0,
            log=True,
            relative=True,
        ),
    ),
    objective="kl",
    claims=(
        Wider(
            KL_WEIGHT,
            "the KL weight",
            "mactok",
            than="KL-VAE",
            source="Fig. 1, 5a, 7 and 11: only the plain KL-VAE collapses",
        ),
        Wider(KL_WEIGHT, "the KL weight", "image masking", than="KL-VAE", source="Fig. 1, 7 and App. A.2"),
    ),
    fields={"finetuning.on": False, "guidance.on": False},
    notes=(
        "The weights are multiples of the one that a scale declares as `collapsing`; the first is the one that it "
        "declares as `alive`. KL falls with the weight in any model, and the linear-Gaussian curve says how far it has "
        "to. Latents far below that curve, or below their own maximum, have lost information.",
        "`squared error alone` has no perceptual term, no discriminator and no start from DINOv2, as far as the other "
        "rows of a scale have them: is one of them the reason for collapse? `tiny` has the first only.",
        "`--objective gfd` also trains a generator at every point.",
    ),
)
