"""The search for the scale of guidance that the paper makes for every row of its Table 5."""

from harness.experiments.study import Ablation, Row

study = Ablation(
    title="Guidance: the best scale of every row of Table 5",
    question="Does every tokenizer want the same guidance, and does the order of the rows hold at the best of each?",
    published_table="5",
    rows=(
        Row("KL-VAE", "kl_vae"),
        Row("+ random mask", "image_masking", base="KL-VAE", published="+ random mask"),
        Row("+ local alignment", "local_alignment", base="+ random mask", published="+ local alignment"),
        Row("+ semantic mask", "mactok_no_global", base="+ local alignment", published="+ semantic mask"),
        Row("+ global alignment", "mactok", base="+ semantic mask", published="+ global alignment"),
    ),
    fields={"guidance.scales": (1.0, 1.5, 2.0, 3.0, 4.0, 6.0), "guidance.intervals": ((0.0, 0.7), (0.0, 1.0))},
    notes=(
        "The paper chooses the scale by a grid search on gFID and IS over 10,000 samples; here the least gFD of the "
        "grid is taken, and the scores stand beside it.",
    ),
)
