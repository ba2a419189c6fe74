"""Table 6b of MacTok: the size of the tokenizer."""

from harness.claim import AlmostEqual, Difference
from harness.study import Ablation, Row

study = Ablation(
    title="Table 6b: the size of the tokenizer",
    question="Does a larger tokenizer reconstruct better?",
    published_table="6b",
    rows=(
        Row(
            "S",
            "mactok",
            published="MacTok-S (45M)",
            times={
                "tokenizer.encoder.width": 0.5,
                "tokenizer.encoder.heads": 0.5,
                "tokenizer.decoder.width": 0.5,
                "tokenizer.decoder.heads": 0.5,
            },
        ),
        Row("B", "mactok", published="MacTok-B (176M)"),
        Row(
            "BL",
            "mactok",
            published="MacTok-BL (391M)",
            times={"tokenizer.decoder.width": 1.5, "tokenizer.decoder.depth": 2},
        ),
    ),
    fields={"finetuning.on": False, "generator.on": False},
    notes=(
        "B is the size of the scale, S has half the width and heads in both parts, BL a decoder of twice the depth and "
        "1.5 times the width. In the paper: ViT-S, ViT-B, and a ViT-B encoder with a ViT-L decoder.",
    ),
    claims=(
        Difference("B has a lower rFID than S", "Table 6b", "rfd", "B", "S", side=-1),
        AlmostEqual(
            "BL brings nothing more",
            "Table 6b",
            "rfd",
            "BL",
            "B",
            margin=0.07,
            because="a fifth of what S and B differ by, 0.78 to 0.57",
        ),
    ),
)
