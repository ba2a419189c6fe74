"""Table 3 of MacTok: against other tokenizers, with the same generator."""

from harness.experiments.claims import Difference
from harness.experiments.study import Ablation, Row

OTHERS = {
    "VA-VAE": Row("VA-VAE", "va_vae", published="VA-VAE", times={"tokenizer.channels": 2}),
    "MAETok": Row("MAETok", "maetok", published="MAETok"),
    "SoftVQ-VAE": Row("SoftVQ-VAE", "softvq", published="SoftVQ-VAE"),
    "SD-VAE": Row("SD-VAE", "sd_vae", published="SD-VAE"),
    "MAR-VAE": Row("MAR-VAE", "mar_vae", published="MAR-VAE"),
    "l-DeTok": Row("l-DeTok", "detok", published="l-DeTok"),
}
OURS = ("MacTok-128", "MacTok-64")

study = Ablation(
    title="Table 3: against other tokenizers",
    question="Does MacTok generate better than other tokenizers, with as many tokens and with half as many?",
    published_table="3",
    rungs={"guidance": "each row's", "kl": "alive"},
    rows=(
        Row("MacTok-128", "mactok", published="MacTok-128"),
        Row("MacTok-64", "mactok", base="MacTok-128", published="MacTok-64", times={"tokenizer.tokens": 0.5}),
        *OTHERS.values(),
    ),
    notes=(
        "Every tokenizer is trained here, with the images, the steps, the optimiser, the discriminator and the "
        "generator of the scale: only its network and its terms are its own. The published numbers are those of "
        "released weights, each with a recipe of its own, which the section above lists.",
        "Tokenizers have as many numbers as the scale's number of tokens gives a MacTok.",
        "`MacTok-64` has half as many.",
        "`VA-VAE` has twice as many, as published.",
        "`SoftVQ-VAE` has twice as many tokens as the published one.",
        "TiTok and VQ-VAE, whose latents are codes, can be trained too (variants `titok`, `titok_kl` and `vq_vae`); "
        "the paper's table does not have them.",
    ),
    claims=tuple(
        Difference(f"{ours} has a lower gFID than {other}", "Table 3", "gfd", ours, other, side=-1)
        for ours in OURS
        for other in OTHERS
    ),
)
