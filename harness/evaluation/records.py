"""From metrics to records: titles, protocols and their ids."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

from harness.evaluation import protocols
from harness.evaluation.generated import Generated
from harness.evaluation.reconstructed import Measured
from harness.experiments.keys import key_of
from harness.store.records import Record
from harness.system import plugins

PROTOCOL = "lite"  # of what Lite2 measures, and of what no network does

SETS = ("samples", "guided", "prior", "real", "mean image", "noise")


@dataclass(frozen=True)
class Value:
    """A measured number, the images it rests on, and what is known of its error.

    `deviation` is the standard deviation over subsets, `interval` a 95 % interval; the protocol says of what.
    """

    value: float
    n: int
    deviation: float | None = None
    interval: tuple[float, float] | None = None


def protocol_id(name: str, metric: str, protocol: str, split: str, n: int) -> str:
    """The name of a protocol and eight digits that stand for all that it says of a number, N included."""
    return f"{name}-{key_of([metric, protocol, split, n])[:8]}"


def protocol_of(m: Measured | Generated, metric: ModuleType, n: int) -> str:
    """The protocol that a number over `n` images meets, the name of the measure where it meets none."""
    measure = m.experiment.evaluation.measure
    if measure is None or not hasattr(metric, "names"):
        return PROTOCOL
    data, published = m.experiment.data, metric.names[1]
    met = protocols.met(measure, m.paired, data.image_size, data.crop, n, m.reference_images) if published else None
    return met or measure


def title(name: str, protocol: str) -> str:
    """How the metric `name` is called where a number is by the protocol of this name: FID only where it is FID."""
    metric = plugins.load("harness.evaluation.metrics", name, "metric")
    return str(metric.title) if protocol == PROTOCOL else full_title(name, protocol)


def full_title(name: str, protocol: str) -> str:
    """The same with the network where there is one, for places where nothing around it says that it is Lite2."""
    metric = plugins.load("harness.evaluation.metrics", name, "metric")
    if not hasattr(metric, "names"):
        return str(metric.title)
    alone, published = metric.names
    measure = "lite2" if protocol == PROTOCOL else protocol
    if measure not in plugins.names("harness.networks.measures"):
        return str(published)
    return f"{alone} ({plugins.load('harness.networks.measures', measure, 'measure').short})"


def protocol_in(protocol_id: str) -> str:
    """The name of a protocol in an id."""
    return protocol_id.rpartition("-")[0] or PROTOCOL


def records(m: Measured | Generated, names: list[str] | None = None) -> list[Record]:
    """The records of the metrics `names` (default: all) that are defined on the split of `m`."""
    found = []
    for name in names or plugins.names("harness.evaluation.metrics"):
        metric = plugins.load("harness.evaluation.metrics", name, "metric")
        value = metric.measure(m) if m.split in metric.splits else None
        if value is not None:
            protocol = metric.protocol(m)
            identity = protocol_id(protocol_of(m, metric, value.n), name, protocol, m.split, value.n)
            error = value.deviation, value.interval
            found.append(Record(name, value.value, value.n, m.step, m.split, protocol, *error, identity))
    return found
