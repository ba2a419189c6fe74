"""How many channels a latent token has."""

from harness.experiments.axis import Axis
from harness.experiments.study import Row
from harness.experiments.sweep import Sweep

study = Sweep(
    title="Number of latent channels Z",
    question="How many channels should a latent token have?",
    rows=(Row("KL-VAE", "kl_vae"), Row("mactok", "mactok")),
    space=(Axis("tokenizer.channels", "Z", grid=(0.25, 0.5, 1, 2), relative=True),),
    objective="gfd",
    fields={"finetuning.on": False, "guidance.on": False},
    notes=("The numbers are multiples of the scale's Z; the paper always has Z = 32.",),
)
