"""Which teacher aligns and hides patches: the scale's, one with random weights, the pixels, or none."""

from harness.experiments.study import Ablation, Row

study = Ablation(
    title="The teacher",
    question="How much of MacTok's gain comes from what its teacher knows?",
    published_table="",
    rungs={"guidance": "each row's", "kl": "alive"},
    rows=(
        Row("the scale's teacher", "mactok"),
        Row("random weights", "mactok", base="the scale's teacher", fields={"teacher": "random"}),
        Row("pixels", "mactok", base="the scale's teacher", fields={"teacher": "pixels"}),
        Row("no teacher", "image_masking"),
    ),
    notes=(
        "The teacher of `random weights` is an EfficientNet-Lite0 that nobody trained.",
        "The teacher of `pixels` is the colours of 4 x 4 cells of a patch.",
        "In `no teacher`, patches are hidden at random and nothing is aligned.",
    ),
)
