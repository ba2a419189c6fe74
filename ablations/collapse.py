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
    ),
    space=(
        Axis(
            KL_WEIGHT,
            "KL weight",
            grid=(1 / 3, 1.0, 10 / 3, 10.0, 100 / 3, 100.0),
            low=0.01,
            high=1000.0,
            log=True,
            relative=True,
        ),
    ),
    objective="kl",
    claims=(
        Wider(KL_WEIGHT, "mactok", than="KL-VAE", source="Fig. 1, 5a, 7 and 11: only the plain KL-VAE collapses"),
        Wider(KL_WEIGHT, "image masking", than="KL-VAE", source="Fig. 1, 7 and App. A.2"),
    ),
    fields={"finetuning.on": False, "guidance.on": False},
    notes=(
        "The weights are multiples of the scale's KL weight. KL falls with the weight in any model, and the "
        "linear-Gaussian curve says how far it has to. Latents far below that curve, or below their own maximum, have "
        "lost information.",
        "`--objective gfd` also trains a generator at every point.",
    ),
)
