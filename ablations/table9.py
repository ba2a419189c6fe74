"""Table 9 of MacTok: how generation improves with the steps of the largest generator."""

from harness.experiments.claims import Difference
from harness.experiments.study import Ablation, Row

study = Ablation(
    title="Table 9: the generator's training",
    question="How does generation improve with the steps of the generator, with as many tokens and with half as many?",
    published_table="9",
    figure="generator",
    rows=(
        Row("MacTok-128", "mactok", published="MacTok-128", rungs={"system": "sit_128"}),
        Row("MacTok-64", "mactok", published="MacTok-64", rungs={"system": "sit_64"}),
    ),
    notes=(
        "The paper prints 400,000 to 4,000,000 steps; the figure has twenty moments of the scale's steps. The tables "
        "have the end of the training, beside the last line of the paper's.",
    ),
    claims=(
        Difference(
            "more tokens have a lower gFID at the end of the training",
            "Table 9",
            "gfd",
            "MacTok-128",
            "MacTok-64",
            side=-1,
        ),
    ),
)
