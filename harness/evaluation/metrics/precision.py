"""Share of the generated images that lie among the training images."""

from __future__ import annotations

from harness.evaluation.generated import Generated
from harness.evaluation.protocol_texts import neighbourhoods
from harness.evaluation.records import Value

title = "precision"
about = "share of generated images among the training images, on a network's features"
unit = ""
better = "higher"
digits = 3
bounds = (0.0, 1.0)
splits = ("samples", "guided", "reconstructions", "real", "fresh")
names = ("precision", "precision")


def measure(m: Generated) -> Value | None:
    return m.precision_recall and Value(m.precision_recall[0], len(m))


def protocol(m: Generated) -> str:
    return neighbourhoods(m)
