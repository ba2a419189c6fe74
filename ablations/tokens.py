"""How many latent tokens an image takes."""

from harness.experiments.axis import Axis
from harness.experiments.claims import Wider
from harness.experiments.study import Row
from harness.experiments.sweep import Sweep

study = Sweep(
    title="Number of latent tokens L",
    question="How few latent tokens are enough, with and without masking and alignment?",
    rows=(Row("KL-VAE", "kl_vae"), Row("mactok", "mactok")),
    space=(Axis("tokenizer.tokens", "L", grid=(0.25, 0.5, 1, 2), relative=True),),
    objective="gfd",
    claims=(
        Wider(
            "tokenizer.tokens",
            "the number of tokens",
            "mactok",
            than="KL-VAE",
            source="Fig. 1, 5a, 7 and 11: only the plain KL-VAE collapses",
        ),
    ),
    fields={"finetuning.on": False, "guidance.on": False},
    notes=(
        "The numbers are multiples of the scale's L. The KL weight multiplies a sum over all L x Z dimensions, so "
        "every dimension has the same weight for every L.",
    ),
)
