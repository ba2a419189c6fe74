"""Table 4 of MacTok: how much is masked, at random or by meaning, and decoder fine-tuning."""

from harness.experiments.claims import AlmostEqual, Difference
from harness.experiments.published import number
from harness.experiments.study import Ablation, Row

RANDOM: dict[str, object] = {"tokenizer.masking.semantic_share": 0.0}

NOTES = (
    "`dino` is the paper's name for semantic masks; the section Protocol names the teacher that finds them here.",
    "The published rows: ImageNet at 256 px, L = 128, ViT-B for 250,000 steps, SiT-B for 500,000. Published rFID "
    "and gFID use Inception features of 50,000 images: compare their order with ours, not their size.",
)

RANDOM_GFID, SEMANTIC_GFID = number("4", "M=0.7", "gfid"), number("4", "M=0.7 + dino 100%", "gfid")

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
        "In every row both alignments are on and guidance is off. The masks are random unless the row names others. "
        "The paper does not state that both alignments are on; we infer it from the last row of its table, which has "
        "the rFID, PSNR and SSIM of the full model of Table 5.",
        "Only `+ decoder fine-tuning` has decoder fine-tuning.",
        *NOTES,
    ),
    claims=(
        Difference("half of the masks semantic: lower gFID", "Table 4", "gfd", "+ dino 50%", "M=0.7", side=-1),
        Difference("all masks semantic: higher gFID", "Table 4", "gfd", "+ dino 100%", "M=0.7", side=+1),
        Difference(
            "decoder fine-tuning lowers rFID", "Tables 4, 6a", "rfd", "+ decoder fine-tuning", "+ dino 50%", side=-1
        ),
        AlmostEqual(
            "decoder fine-tuning hardly moves gFID",
            "Tables 4, 6a",
            "gfd",
            "+ decoder fine-tuning",
            "+ dino 50%",
            margin=round(SEMANTIC_GFID / RANDOM_GFID - 1, 3),
            because="the smallest change in this table that the paper calls a difference, "
            f"{RANDOM_GFID:.2f} to {SEMANTIC_GFID:.2f}",
        ),
    ),
)
