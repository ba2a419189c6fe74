"""Table 8 of MacTok, which contains its Table 2: whole systems at 512 px."""

from harness.experiments.study import Ablation, Row

study = Ablation(
    title="Table 8: systems at 512 px",
    question="How well do MacTok's tokenizers generate at 512 px?",
    published_table="8",
    rows=(
        Row("MacTok-128 + SiT-XL", "mactok", published="MacTok-128 + SiT-XL", rungs={"system": "sit_128"}),
        Row(
            "MacTok-64 (BL) + SiT-XL",
            "mactok",
            published="MacTok-64 (BL decoder) + SiT-XL",
            rungs={"size": "BL", "system": "sit_64"},
        ),
    ),
    notes=("Meant for `paper512`; only the rows of MacTok are here.",),
)
