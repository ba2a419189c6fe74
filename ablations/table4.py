"""Table 4 of MacTok: how much is masked, at random or by meaning, and decoder fine-tuning."""

from harness.experiments.claims import AlmostEqual, Difference
from harness.experiments.study import Ablation, Row

RANDOM: dict[str, object] = {"tokenizer.masking.semantic_share": 0.0}

NOTES = (
    "`dino` is the paper's name for semantic masks; which teacher finds them here stands under Protocol.",
    "The published rows: ImageNet at 256 px, L = 128, ViT-B for 250,000 steps, SiT-B for 500,000. Published rFID "
    "and gFID are on Inception features over 50,000 images: they stand beside ours for order, not size.",
)

study = Ablation(
    title="Table 4: mask ratio and semantic share",
    question="How much of the image should be masked, and should the masks follow the object?",
    published_table="4",
    rows=(
        Row("M=0.4", "mactok", "M=0.7", "M=0.4", RANDOM | {"tokenizer.masking.max_ratio": 0.4}),
        Row("M=0.5", "mactok", "M=0.7", "M=0.5", RANDOM | {"tokenizer.masking.max_ratio": 0.5}),
        Row("M=0.6", "mactok", "M=0.7", "M=0.6", RANDOM | {"tokenizer.masking.max_ratio": 0.6}),
        Row("M=0.7", "mactok", None, "M=0.7", RANDOM),
        Row("M=0.8", "mactok", "M=0.7", "M=0.8", RANDOM | {"tokenizer.masking.max_ratio": 0.8}),
        Row("+ dino 100%", "mactok", "M=0.7", "M=0.7 + dino 100%", {"tokenizer.masking.semantic_share": 1.0}),
        Row("+ dino 50%", "mactok", "M=0.7", "M=0.7 + dino 50%"),
        Row("+ decoder fine-tuning", "mactok", "+ dino 50%", "+ decoder fine-tuning", {"finetuning.on": True}),
    ),
    fields={"finetuning.on": False, "guidance.on": False},
    notes=(
        "Both alignments are on in every row, random masks unless the row says otherwise; no guidance, and no decoder "
        "fine-tuning but in the last row. The paper does not say so of the alignments: its last row has the rFID, PSNR "
        "and SSIM of the full model of Table 5.",
        *NOTES,
    ),
    claims=(
        Difference("half the masks semantic lower gFID", "Table 4", "gfd", "+ dino 50%", "M=0.7", side=-1),
        Difference("all masks semantic raise gFID", "Table 4", "gfd", "+ dino 100%", "M=0.7", side=+1),
        Difference(
            "decoder fine-tuning lowers rFID", "Tables 4, 6a", "rfd", "+ decoder fine-tuning", "+ dino 50%", side=-1
        ),
        AlmostEqual(
            "decoder fine-tuning hardly moves gFID",
            "Tables 4, 6a",
            "gfd",
            "+ decoder fine-tuning",
            "+ dino 50%",
            margin=0.017,
            because="the least that the paper reads as a difference in this table, 14.59 to 14.84",
        ),
    ),
)
