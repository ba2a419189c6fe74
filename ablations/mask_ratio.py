"""Table 4 of MacTok, continued: where the mask ratio M is best."""

from ablations.table4 import NOTES, RANDOM
from harness.experiments.axis import Axis
from harness.experiments.claims import Best
from harness.experiments.study import Row
from harness.experiments.sweep import Sweep

study = Sweep(
    title="Mask ratio M",
    question="How much of the image should be masked at random?",
    rows=(Row("random masks", "mactok", fields=RANDOM),),
    space=(Axis("tokenizer.masking.max_ratio", "M", grid=(0.0, 0.4, 0.5, 0.6, 0.7, 0.8), low=0.0, high=0.9),),
    objective="gfd",
    published_table="4",
    published={0.4: "M=0.4", 0.5: "M=0.5", 0.6: "M=0.6", 0.7: "M=0.7", 0.8: "M=0.8"},
    claims=(
        Best("gFID", "gfd", "tokenizer.masking.max_ratio", at=0.7, among=(0.4, 0.5, 0.6, 0.7, 0.8), source="Table 4"),
    ),
    fields={"finetuning.on": False, "guidance.on": False},
    notes=("Both alignments are on; M = 0 masks nothing.", *NOTES),
)
