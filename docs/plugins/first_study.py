"""A study: does hiding at least half of an image help, and what do a tokenizer, a teacher and a generator of mine do?

    python -m harness.ablate --study docs/plugins/first_study.py --plugins docs/plugins --scale smoke

A row with a `base` differs from that row in one field. `published_table` is left out: there is nothing to compare with.
"""

from harness.experiments.claims import Difference
from harness.experiments.study import Ablation, Row

study = Ablation(
    title="Plug-ins",
    question="What do parts of my own change?",
    rows=(
        Row("random masks", "image_masking"),
        Row("harder masks", "hard_masks", base="random masks"),
        Row("pooled", "pooled"),
        Row("edges", "local_alignment", fields={"teacher": "edges"}),
        Row("mixer", "image_masking", base="random masks", fields={"generator.name": "mixer"}),
    ),
    claims=(Difference("harder masks sharpen", "mine", "psnr", "harder masks", "random masks", side=+1),),
)
