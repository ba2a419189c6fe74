"""Table 3 of MacTok: against other tokenizers, with the same generator."""

from harness.experiments.claims import Difference
from harness.experiments.study import Ablation, Row

OTHERS = ("VA-VAE", "MAETok", "SoftVQ-VAE", "SD-VAE", "MAR-VAE", "l-DeTok")
OURS = ("MacTok-128", "MacTok-64")

study = Ablation(
    title="Table 3: against other tokenizers",
    question="Does MacTok generate better than other tokenizers, with as many tokens and with half as many?",
    published_table="3",
    rows=(
        Row("MacTok-128", "mactok", published="MacTok-128"),
        Row("MacTok-64", "mactok", base="MacTok-128", published="MacTok-64", times={"tokenizer.tokens": 0.5}),
    ),
    notes=(
        "`MacTok-128` has the scale's number of tokens, `MacTok-64` half of it. The other tokenizers of the table are "
        "not built here, so claims about them have no data.",
    ),
    claims=tuple(
        Difference(f"{ours} has a lower gFID than {other}", "Table 3", "gfd", ours, other, side=-1)
        for ours in OURS
        for other in OTHERS
    ),
)
