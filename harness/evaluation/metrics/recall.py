"""Share of the training images that lie among the generated images."""

from __future__ import annotations

from harness.evaluation.generated import Generated
from harness.evaluation.protocol_texts import neighbourhoods
from harness.evaluation.records import Value

title = "recall"
about = "share of training images among the generated images, on a network's features"
unit = ""
better = "higher"
digits = 3
bounds = (0.0, 1.0)
splits = ("samples", "guided", "reconstructions", "real", "fresh")
names = ("recall", "recall")


def measure(m: Generated) -> Value | None:
    return m.precision_recall and Value(m.precision_recall[1], len(m))


def protocol(m: Generated) -> str:
    return neighbourhoods(m)
