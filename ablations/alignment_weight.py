"""How strongly the latents should be aligned with the teacher's features."""

from harness.experiments.axis import Axis
from harness.experiments.study import Row
from harness.experiments.sweep import Sweep

study = Sweep(
    title="Alignment weight",
    question="How strongly should the latents be aligned with the teacher's features?",
    rows=(Row("mactok", "mactok"),),
    space=(
        Axis(
            "tokenizer.alignment.weight", "alignment weight", (0.01, 0.03, 0.1, 0.3, 1.0), low=0.01, high=1.0, log=True
        ),
    ),
    objective="gfd",
    fields={"finetuning.on": False, "guidance.on": False},
    notes=("The paper uses 0.1 everywhere and does not vary it.",),
)
