"""Table 6b of MacTok: the size of the tokenizer."""

from harness.experiments.claims import AlmostEqual, Difference
from harness.experiments.published import number
from harness.experiments.study import Ablation, Row

S_RFID, B_RFID = number("6b", "MacTok-S (45M)", "rfid"), number("6b", "MacTok-B (176M)", "rfid")

study = Ablation(
    title="Table 6b: the size of the tokenizer",
    question="Does a larger tokenizer reconstruct better?",
    published_table="6b",
    rows=(
        Row("S", "mactok", published="MacTok-S (45M)", rungs={"size": "S"}),
        Row("B", "mactok", published="MacTok-B (176M)", rungs={"size": "B"}),
        Row("BL", "mactok", published="MacTok-BL (391M)", rungs={"size": "BL"}),
    ),
    fields={"finetuning.on": False, "generator.on": False},
    notes=(
        "`S` is ViT-S in the paper; at `tiny` it has half the width and half the heads of the scale.",
        "`B` is ViT-B in the paper; it has the size of the scale.",
        "`BL` has a ViT-B encoder with a ViT-L decoder in the paper; at `tiny` its decoder has twice the depth and 1.5 "
        "times the width of the scale.",
    ),
    claims=(
        Difference("B has a lower rFID than S", "Table 6b", "rfd", "B", "S", side=-1),
        AlmostEqual(
            "BL has almost the same rFID as B",
            "Table 6b",
            "rfd",
            "BL",
            "B",
            margin=round((S_RFID / B_RFID - 1) / 5, 2),
            because=f"a fifth of the difference between S and B, {S_RFID:.2f} to {B_RFID:.2f}",
        ),
    ),
)
