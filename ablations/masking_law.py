"""What the paper leaves open, or peers do otherwise, in the law of masking."""

from harness.experiments.study import Ablation, Row

study = Ablation(
    title="The law of masking",
    question="Does it matter how patches are hidden: per batch or image, replaced or dropped, how many at least?",
    published_table="",
    rungs={"guidance": "each row's", "kl": "alive"},
    rows=(
        Row("per image", "mactok"),
        Row("per batch", "mactok", base="per image", fields={"tokenizer.masking.per": "batch"}),
        Row("dropped", "mactok", base="per image", fields={"tokenizer.masking.dropped": True}),
        Row("rounded up", "mactok", base="per image", fields={"tokenizer.masking.round_up": True}),
        Row("from 0 to M", "mactok", base="per image", fields={"tokenizer.masking.min_ratio": 0.0}),
        Row("from 0.4 to M", "mactok", base="per image", fields={"tokenizer.masking.min_ratio": 0.4}),
    ),
    notes=(
        "The paper draws m from -0.1 to M, cut at 0, replaces floor(m N) patches by a learned token, and does not say "
        "whether m is drawn for each image or for each batch. MAETok hides at least 0.4 of them, l-DeTok drops them.",
    ),
)
