"""How distinct and how varied generated images are to a classifier; only a network with logits has a score."""

from __future__ import annotations

import math

from harness.evaluation.generated import Generated
from harness.evaluation.protocol_texts import measure_of, resizing, weights
from harness.evaluation.records import Value
from harness.experiments.experiment import DEFAULT_NETWORK

title = "Lite2 score"
about = "classifier score exp(E KL(p(y | x) || p(y))) of generated images, by a network"
unit = ""
better = "higher"
digits = 2
bounds = (1.0, math.inf)
splits = ("samples", "guided", "real", "fresh")
names = ("classifier score", "IS")


def measure(m: Generated) -> Value | None:
    from harness.evaluation.fidelity import SPLITS, classifier_score

    logits = m.outputs.logits
    if logits is None or len(m) < 2 * SPLITS:
        return None
    mean, deviation = classifier_score(logits)
    return Value(mean, len(m), deviation)


def protocol(m: Generated) -> str:
    from harness.evaluation.fidelity import SPLITS

    network = measure_of(m.experiment)
    lite = m.experiment.evaluation.network == DEFAULT_NETWORK
    classes = "1000 ImageNet classes of EfficientNet-Lite2" if lite else f"{network.classes} classes of {network.title}"
    return (
        f"{classes} ({weights(m.experiment)}), {resizing(m.experiment)}, shuffled, in float64, mean and "
        f"standard deviation over {SPLITS} splits; {m.how}"
    )
