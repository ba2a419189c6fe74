"""The toy's sweep: `python -m harness.sweep bowl` in its checkout."""

from harness.experiments.axis import Axis
from harness.experiments.claims import Best
from harness.experiments.study import Row
from harness.experiments.sweep import Sweep

study = Sweep(
    title="A bowl",
    question="Where is it deepest?",
    rows=(Row("mixed", "mixed_masking"),),
    space=(
        Axis("tokenizer.masking.max_ratio", "M", grid=(0.0, 0.3, 0.8), low=0.0, high=1.0),
        Axis("tokenizer.masking.semantic_share", "share", grid=(0.2, 0.6, 1.0), low=0.0, high=1.0),
    ),
    objective="rfd",
    claims=(Best("rFID", "rfd", "tokenizer.masking.max_ratio", at=0.3, among=(0.0, 0.3, 0.8), source="the toy"),),
    fields={"finetuning.on": False},
)
