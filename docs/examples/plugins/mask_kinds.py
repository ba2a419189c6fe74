"""Which patches should an image mask hide: random ones, those of the object, or now these and now those?"""

from harness.experiments.claims import Difference
from harness.experiments.study import Ablation, Row

study = Ablation(
    title="Kinds of masks",
    question="Which patches should be hidden in training?",
    rungs={"kl": "alive"},  # the KL weight at which the plain KL-VAE keeps its information
    rows=(
        Row("no mask", "kl_vae"),
        # A row with a base differs from that row in exactly one field.
        Row("random", "image_masking", base="no mask"),
        Row("semantic", "semantic_masking", base="random"),
        Row("both", "mixed_masking", base="random"),
    ),
    claims=(
        # The rFD of `both` is lower (side -1) than that of `random`. Such claims are judged, with an interval.
        Difference("semantic masks help", "our guess", "rfd", "both", than="random", side=-1),
    ),
    fields={"generator.on": False},  # no row has a generator
    notes=("An example of the tutorial.",),
)
