"""Masking and alignment against every other remedy for posterior collapse, over the KL weight."""

from ablations import collapse
from harness.experiments.claims import Wider
from harness.experiments.study import Row
from harness.experiments.sweep import Sweep

OTHERS = {
    "KL annealing": "kl_annealing",
    "cyclical annealing": "cyclical_annealing",
    "free bits": "free_bits",
    "committed rate": "committed_rate",
    "latent dropout": "latent_dropout",
    "lagging decoder": "lagging_decoder",
}

study = Sweep(
    title="Remedies for collapse",
    question="Do masking and alignment keep information at larger KL weights than the usual remedies for collapse?",
    rows=(
        Row("KL-VAE", "kl_vae"),
        *(Row(name, variant) for name, variant in OTHERS.items()),
        Row("image masking", "image_masking"),
        Row("mactok", "mactok"),
    ),
    rungs=collapse.study.rungs,
    space=collapse.study.space,
    objective="kl",
    claims=tuple(
        Wider(
            collapse.KL_WEIGHT,
            "the KL weight",
            "mactok",
            than=name,
            source="Fig. 1; the introduction says that usual remedies only delay collapse",
        )
        for name in ("KL-VAE", *OTHERS)
    ),
    fields=collapse.study.fields,
    notes=(
        "The weights are those of the study `collapse`, with which this one shares trainings: a smaller weight is the "
        "remedy beta below 1, so every point of the first curve is one too.",
        "`KL annealing` ends at half of the training.",
        "`cyclical annealing` ends its last cycle with the training.",
        "`free bits` has 0.25 nats a dimension.",
        "`committed rate` has 0.25 nats a dimension.",
        "`latent dropout` drops a quarter of the numbers.",
        "`lagging decoder` learns in every fifth step of the first quarter.",
        "Nobody tuned these remedies.",
        "The KL that is committed, or free, is no information by itself: the decoder has to use it. The "
        "shuffled-latent error says whether it does.",
    ),
)
