"""gFD extrapolated to infinitely many generated images, with a bootstrap interval."""

from __future__ import annotations

from harness.evaluation.generated import Generated
from harness.evaluation.protocol_texts import extrapolation, frechet_of_generated
from harness.evaluation.records import Value

title = "gFD∞"
about = "gFD extrapolated to infinitely many generated images, on a network's features"
unit = ""
better = "lower"
digits = "frechet_digits"
splits = ("samples", "guided", "prior")
names = ("gFD∞", "gFID∞")


def measure(m: Generated) -> Value | None:
    from harness.evaluation.frechet import infinite

    if len(m) < 4:
        return None
    distance = infinite(m.features[0], m.reference_gaussian)
    return Value(distance.value, len(m), interval=distance.interval)


def protocol(m: Generated) -> str:
    return f"{extrapolation()}; {frechet_of_generated(m)}"
