"""A search for the best guidance scale of every row of Table 5 of MacTok."""

from harness.experiments.study import Ablation, Row

study = Ablation(
    title="Guidance: the best scale for every row of Table 5",
    question="Do all tokenizers need the same guidance, and does the order of the rows hold at the best scale of each?",
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
        "The paper chooses the scale by a grid search on gFID and IS over 10,000 samples. Here the search takes the "
        "scale with the lowest gFD, and the page shows the scores beside it.",
    ),
)
