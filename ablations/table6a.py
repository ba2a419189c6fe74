"""Table 6a of MacTok: decoder fine-tuning, at two numbers of tokens."""

from harness.experiments.claims import AlmostEqual, Difference
from harness.experiments.published import number
from harness.experiments.study import Ablation, Row

HALF = {"tokenizer.tokens": 0.5}
WITHOUT: dict[str, object] = {"finetuning.on": False}
PAIRS = (("MacTok-64", "MacTok-64 + FT"), ("MacTok-128", "MacTok-128 + FT"))
CHANGES = sorted(1 - number("6a", tuned, "gfid") / number("6a", plain, "gfid") for plain, tuned in PAIRS)

study = Ablation(
    title="Table 6a: decoder fine-tuning",
    question="Does fine-tuning of the decoder improve reconstruction, and leave generation as it is?",
    published_table="6a",
    rungs={"guidance": "each row's", "kl": "alive"},
    rows=(
        Row("MacTok-64", "mactok", published="MacTok-64", fields=WITHOUT, times=HALF),
        Row("MacTok-64 + FT", "mactok", base="MacTok-64", published="MacTok-64 + FT", times=HALF),
        Row("MacTok-128", "mactok", published="MacTok-128", fields=WITHOUT),
        Row("MacTok-128 + FT", "mactok", base="MacTok-128", published="MacTok-128 + FT"),
    ),
    notes=(
        "`128` stands for the scale's number of tokens, `64` for half of it. Fine-tuning leaves the latents alone.",
    ),
    claims=(
        *(
            Difference(f"fine-tuning lowers the rFID of {plain}", "Table 6a", "rfd", tuned, plain, side=-1)
            for plain, tuned in PAIRS
        ),
        *(
            AlmostEqual(
                f"fine-tuning leaves the gFID of {plain} almost as it is",
                "Table 6a",
                "gfd",
                tuned,
                plain,
                margin=0.03,
                because=f"the published ones differ by {' and '.join(f'{100 * share:.0f}' for share in CHANGES)} %",
            )
            for plain, tuned in PAIRS
        ),
    ),
)
