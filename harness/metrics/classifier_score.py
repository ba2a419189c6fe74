"""How distinct and how varied the generated images are to a classifier (not IS: the classifier is not Inception)."""

from __future__ import annotations

from harness.metrics import Generated, Value

title = "Lite2 score"
about = "classifier score exp(E KL(p(y | x) || p(y))) of generated images, by EfficientNet-Lite2"
unit = ""
better = "higher"
digits = 2
splits = ("samples", "guided", "real")


def measure(m: Generated) -> Value | None:
    from harness.fidelity import SPLITS, classifier_score

    logits = m.looked_at.logits
    if logits is None or len(m) < 2 * SPLITS:
        return None
    mean, deviation = classifier_score(logits)
    return Value(mean, len(m), deviation)


def protocol(m: Generated) -> str:
    from harness.fidelity import SPLITS
    from harness.measures import checksum, lite2

    return (
        f"1000 ImageNet classes of EfficientNet-Lite2 (weights {checksum(lite2.weights_file())}), input "
        f"{m.experiment.evaluation.metrics_px} px bicubic, 8-bit, shuffled, in float64, mean and standard deviation "
        f"over {SPLITS} splits; {m.how}"
    )
