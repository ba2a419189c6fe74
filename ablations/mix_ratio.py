"""Table 4 of MacTok, continued: which share of the masks should follow the object."""

from ablations.table4 import NOTES
from harness.experiments.axis import Axis
from harness.experiments.claims import Best
from harness.experiments.study import Row
from harness.experiments.sweep import Sweep

study = Sweep(
    title="Mix ratio: the share of semantic masks",
    question="Which share of the masks should hide the object instead of random patches?",
    rows=(Row("mixed masks", "mactok"),),
    space=(
        Axis("tokenizer.masking.semantic_share", "semantic share", grid=(0.0, 0.25, 0.5, 0.75, 1.0), low=0.0, high=1.0),
    ),
    objective="gfd",
    published_table="4",
    published={0.0: "M=0.7", 0.5: "M=0.7 + dino 50%", 1.0: "M=0.7 + dino 100%"},
    claims=(Best("gFID", "gfd", "tokenizer.masking.semantic_share", at=0.5, among=(0.0, 0.5, 1.0), source="Table 4"),),
    fields={"finetuning.on": False, "guidance.on": False},
    notes=("Both alignments are on, M = 0.7.", *NOTES),
)
