"""Figure 6a of MacTok: probe accuracy of the latents against gFID."""

import dataclasses

from ablations.table5 import PROBE_AND_GFD
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
    claims=(dataclasses.replace(PROBE_AND_GFD, primary=True),),
    notes=("The rows are the five points of the paper's figure, in its order.",),
)
