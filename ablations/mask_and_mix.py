"""Mask ratio and mix ratio together."""

from ablations.table4 import NOTES
from harness.experiments.axis import Axis
from harness.experiments.study import Row
from harness.experiments.sweep import Sweep

study = Sweep(
    title="Mask ratio M and mix ratio together",
    question="Does the best mask ratio change if the masks follow the object?",
    rows=(Row("mixed masks", "mactok"),),
    space=(
        Axis("tokenizer.masking.max_ratio", "M", grid=(0.4, 0.6, 0.8), low=0.0, high=0.9),
        Axis("tokenizer.masking.semantic_share", "semantic share", grid=(0.0, 0.5, 1.0), low=0.0, high=1.0),
    ),
    objective="gfd",
    sampler="tpe",
    trials=20,
    fields={"finetuning.on": False, "guidance.on": False},
    notes=("Both alignments are on.", *NOTES),
)
