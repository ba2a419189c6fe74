"""The paper's central claim: masking and alignment keep the latents from collapsing where a plain KL-VAE does."""

from harness.experiments.axis import Axis
from harness.experiments.claims import Wider
from harness.experiments.study import Row
from harness.experiments.sweep import Sweep

study = Sweep(
    title="KL weight: the range without collapse",
    question="Over which range of KL weights do the latents stay active, with and without masking and alignment?",
    rows=(
        Row("KL-VAE", "kl_vae"),
        Row("image masking", "image_masking"),
        Row("alignment only", "mactok", fields={"tokenizer.masking.on": False}),
        Row("mactok", "mactok"),
    ),
    space=(
        Axis(
            "tokenizer.gaussian.kl_weight",
            "KL weight",
            grid=(0.1, 1 / 3, 1.0, 10 / 3, 10.0),
            low=0.1,
            high=10.0,
            log=True,
            relative=True,
        ),
    ),
    objective="kl",
    claims=(
        Wider(
            "tokenizer.gaussian.kl_weight",
            "the KL weight",
            "mactok",
            than="KL-VAE",
            source="Fig. 1, 5a, 7 and 11: only the plain KL-VAE collapses",
        ),
    ),
    fields={"finetuning.on": False, "guidance.on": False},
    notes=(
        "The weights are multiples of the scale's KL weight. The KL is always largest at the smallest weight; the rows "
        "differ in the largest weight at which the KL and the active units still hold.",
    ),
)
