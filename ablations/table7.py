"""Table 7 of MacTok, which contains its Table 1: whole systems at 256 px."""

from harness.experiments.study import Ablation, Row

study = Ablation(
    title="Table 7: systems at 256 px",
    question="How well do MacTok's tokenizers generate with the largest generators?",
    published_table="7",
    rows=(
        Row("MacTok-128 + SiT-XL", "mactok", published="MacTok-128 + SiT-XL", rungs={"system": "sit_128"}),
        Row("MacTok-64 + SiT-XL", "mactok", published="MacTok-64 + SiT-XL", rungs={"system": "sit_64"}),
        Row(
            "MacTok-128 + LightningDiT-XL",
            "mactok",
            published="MacTok-128 + LightningDiT-XL",
            rungs={"system": "lightningdit_128"},
        ),
        Row(
            "MacTok-64 + LightningDiT-XL",
            "mactok",
            published="MacTok-64 + LightningDiT-XL",
            rungs={"system": "lightningdit_64"},
        ),
    ),
    notes=(
        "`128` stands for the scale's number of tokens, `64` for half of it. Below `paper256` the generators have the "
        "size, the steps and the guidance of the scale.",
    ),
)
