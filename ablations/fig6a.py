"""Figure 6a of MacTok: probe accuracy of the latents against gFID."""

from harness.experiments.claims import Correlated
from harness.experiments.study import Ablation, Row

HALF, UNALIGNED = {"tokenizer.tokens": 0.5}, "mixed_masking"

study = Ablation(
    title="Figure 6a: probe accuracy against gFID",
    question="Do latents that a linear probe reads better also generate better?",
    published_table="",
    figure="probe",
    rungs={"kl": "alive"},
    rows=(
        Row("MacTok-128", "mactok"),
        Row("MacTok-64", "mactok", times=HALF),
        Row("SoftVQ-VAE", "softvq"),
        Row("MacTok-128 without alignment", UNALIGNED),
        Row("MacTok-64 without alignment", UNALIGNED, times=HALF),
    ),
    fields={"finetuning.on": False, "guidance.on": False},
    claims=(
        Correlated(
            "latents with a better probe accuracy have a lower gFID",
            "Fig. 6a",
            "probe",
            "gfd_unguided",
            side=-1,
            paper=((50, 14), (53, 15), (41, 20), (30, 37), (30, 39)),
        ),
    ),
    notes=("The rows are the five points of the paper's figure, in its order.",),
)
