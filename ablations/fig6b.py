"""Figure 6b of MacTok: gFID over the steps of the generator, with and without alignment."""

from ablations.table5 import SPEED_UP
from harness.experiments.claims import Faster
from harness.experiments.study import Ablation, Row

study = Ablation(
    title="Figure 6b: gFID over the generator's training",
    question="Does alignment of the latents make the generator learn faster?",
    published_table="",
    figure="generator",
    rungs={"kl": "alive"},
    rows=(Row("with alignment", "mactok"), Row("without alignment", "mixed_masking")),
    fields={"finetuning.on": False, "guidance.on": False},
    claims=(
        Faster(
            "alignment reaches the same gFID in fewer steps", "Fig. 6b", "with alignment", "without alignment", SPEED_UP
        ),
    ),
)
