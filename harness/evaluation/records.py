"""From metrics to records: titles, protocols and their ids."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

from harness.evaluation import protocols
from harness.evaluation.generated import Generated
from harness.evaluation.reconstructed import Reconstructed
from harness.experiments.experiment import DEFAULT_NETWORK
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


def protocol_of(m: Reconstructed | Generated, metric: ModuleType, n: int) -> str:
    """The protocol that a number over `n` images meets, the name of the measure where it meets none."""
    network = m.experiment.evaluation.network
    if network == DEFAULT_NETWORK or not hasattr(metric, "names"):
        return PROTOCOL
    data, published = m.experiment.data, metric.names[1]
    met = protocols.met(network, m.paired, data.image_size, data.crop, n, m.reference_images) if published else None
    return met or network


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
    measure = DEFAULT_NETWORK if protocol == PROTOCOL else protocol
    if measure not in plugins.names("harness.networks.measures"):
        return str(published)
    return f"{alone} ({plugins.load('harness.networks.measures', measure, 'measure').short})"


def heading(name: str, protocol: str = PROTOCOL) -> str:
    """Title, unit and direction of a metric, for the head of a column of numbers by the protocol of this name."""
    return title(name, protocol) + unit_and_arrow(name)


def unit_and_arrow(name: str) -> str:
    """The unit of a metric in brackets, where it has one, and an arrow to where it is better."""
    metric = plugins.load("harness.evaluation.metrics", name, "metric")
    arrow = {"higher": " ↑", "lower": " ↓", "": ""}[metric.better]
    return f"{f' ({metric.unit})' if metric.unit else ''}{arrow}"


def digits_of(name: str, protocol: str = PROTOCOL) -> int:
    """The decimals of a metric's numbers by the protocol of this name; those of a distance are its network's."""
    digits: int | str = plugins.load("harness.evaluation.metrics", name, "metric").digits
    if isinstance(digits, int):
        return digits
    network = protocols.PROTOCOLS[protocol].network if protocol in protocols.PROTOCOLS else protocol
    return int(getattr(plugins.load("harness.networks.measures", network, "measure"), digits))


def text_of(record: Record) -> str:
    """A number as tables print it, with what is known of its error."""
    digits = digits_of(record.metric, protocol_in(record.protocol_id))
    return number(record.value, digits, record.deviation, record.interval)


def number(
    value: float,
    digits: int,
    deviation: float | None = None,
    interval: tuple[float, float] | None = None,
    sign: bool = False,
) -> str:
    """A value with so many decimals, ± its deviation and [low, high] its interval where there are any."""
    text = f"{value:{'+' if sign else ''}.{digits}f}"
    text += "" if deviation is None else f" ± {deviation:.{digits}f}"
    return text if interval is None else f"{text} [{interval[0]:.{digits}f}, {interval[1]:.{digits}f}]"


def protocol_in(protocol_id: str) -> str:
    """The name of a protocol in an id."""
    return protocol_id.rpartition("-")[0] or PROTOCOL


def records(m: Reconstructed | Generated, names: list[str] | None = None) -> list[Record]:
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
