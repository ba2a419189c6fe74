"""Makes records of metrics: titles, protocols and their ids, and numbers as text."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import ModuleType

from harness.evaluation import protocol_texts, protocols
from harness.evaluation.generated import Generated
from harness.evaluation.image_pairs import ImagePairs
from harness.evaluation.reconstructed import Reconstructed
from harness.experiments import plugin_metrics
from harness.experiments.experiment import DEFAULT_NETWORK
from harness.experiments.keys import key_of
from harness.store.records import Record
from harness.system import plugins
from harness.system.errors import Trouble

PROTOCOL = "lite"  # for metrics measured by Lite2 and for metrics without a network

UNBOUNDED = (-math.inf, math.inf)


@dataclass(frozen=True)
class Value:
    """A measured number, its number of images and its uncertainty, if known.

    `deviation` is a standard deviation or standard error, `interval` a 95 % interval; the protocol defines both.
    """

    value: float
    n: int
    deviation: float | None = None
    interval: tuple[float, float] | None = None


def protocol_id(name: str, metric: str, protocol: str, split: str, n: int) -> str:
    """The name of a protocol and eight hexadecimal digits: a hash of metric, protocol text, split and N."""
    return f"{name}-{key_of([metric, protocol, split, n])[:8]}"


def protocol_of(m: Reconstructed | ImagePairs | Generated, metric: ModuleType, n: int) -> str:
    """The name of the protocol that a number over `n` images meets, or of its network if it meets none.

    A network with other weights than the published ones meets none.
    """
    network = m.experiment.evaluation.network
    if network == DEFAULT_NETWORK or not hasattr(metric, "names"):
        return PROTOCOL
    if digits := protocol_texts.other_weights(m.experiment):
        return network + protocols.other_weights(digits)
    data, published = m.experiment.data, metric.names[1]
    met = protocols.met(network, m.paired, data.image_size, data.crop, n, m.reference_images) if published else None
    if met and m.paired and not protocols.are_of_imagenet_val(m.names):
        return network
    return met or network


def title(name: str, protocol: str) -> str:
    """The title of the metric `name` for a number by this protocol: only what is FID is called FID."""
    metric = plugins.load("harness.evaluation.metrics", name, "metric")
    return str(metric.title) if protocol == PROTOCOL else full_title(name, protocol)


def full_title(name: str, protocol: str) -> str:
    """The title with the name of the network, if it has one, for texts that do not state that Lite2 is the default."""
    metric = plugins.load("harness.evaluation.metrics", name, "metric")
    if not hasattr(metric, "names"):
        return str(metric.title)
    alone, published = metric.names
    network, digits = protocols.network_in(DEFAULT_NETWORK if protocol == PROTOCOL else protocol)
    if network not in plugins.names("harness.networks.measures"):
        return str(published)
    return f"{alone} ({seen_by(plugins.load('harness.networks.measures', network, 'measure').short, digits)})"


def about(name: str) -> str:
    """What the metric `name` measures, in words."""
    return str(plugins.load("harness.evaluation.metrics", name, "metric").about)


def seen_by(network: str, digits: str) -> str:
    """A network in titles: its short name, and `digits` of the checksum of its weights if they are not published."""
    return f"{network}, other weights {digits}" if digits else network


def heading(name: str, protocol: str = PROTOCOL) -> str:
    """Title, unit and direction of a metric, as the head of a column of numbers by this protocol."""
    return title(name, protocol) + unit_and_arrow(name)


def unit_and_arrow(name: str) -> str:
    """The unit of a metric in brackets, if it has one, and an arrow in the direction that is better."""
    metric = plugins.load("harness.evaluation.metrics", name, "metric")
    arrow = {"higher": " ↑", "lower": " ↓", "": ""}[metric.better]
    return f"{f' ({metric.unit})' if metric.unit else ''}{arrow}"


def digits_of(name: str, protocol: str = PROTOCOL) -> int:
    """The decimals of a metric's numbers by this protocol; for a distance they depend on the network."""
    digits: int | str = plugins.load("harness.evaluation.metrics", name, "metric").digits
    if isinstance(digits, int):
        return digits
    known = protocols.PROTOCOLS.get(protocol)
    network = known.network if known else protocols.network_in(protocol)[0]
    return int(getattr(plugins.load("harness.networks.measures", network, "measure"), digits))


def bounds_of(name: str) -> tuple[float, float]:
    """The least and the largest value that a metric can have; infinite where it names none."""
    low, high = getattr(plugins.load("harness.evaluation.metrics", name, "metric"), "bounds", UNBOUNDED)
    return float(low), float(high)


def text_of(record: Record) -> str:
    """A number as tables print it, with its uncertainty if known."""
    digits = digits_of(record.metric, protocol_in(record.protocol_id))
    return number(record.value, digits, record.deviation, record.interval)


def number(
    value: float,
    digits: int,
    deviation: float | None = None,
    interval: tuple[float, float] | None = None,
    sign: bool = False,
) -> str:
    """A value with `digits` decimals, followed by ± deviation and [low, high] of the interval, if given."""
    text = f"{value:{'+' if sign else ''}z.{digits}f}"  # z: no minus before zero
    text += "" if deviation is None else f" ± {deviation:.{digits}f}"
    return text if interval is None else f"{text} [{interval[0]:z.{digits}f}, {interval[1]:z.{digits}f}]"


def protocol_in(protocol_id: str) -> str:
    """The name of the protocol in an id."""
    return protocol_id.rpartition("-")[0] or PROTOCOL


def records(m: Reconstructed | ImagePairs | Generated, names: list[str] | None = None) -> list[Record]:
    """The records of the metrics `names` (default: all of ours) that are defined on the split of `m`."""
    measured = []
    for name in names or plugins.ours("harness.evaluation.metrics"):
        metric = plugins.load("harness.evaluation.metrics", name, "metric")
        value = metric.measure(m) if m.split in metric.splits else None
        if value is not None:
            protocol = metric.protocol(m) + _content(m)
            digest = protocol_id(protocol_of(m, metric, value.n), name, protocol, m.split, value.n)
            error = value.deviation, value.interval
            measured.append(Record(name, value.value, value.n, m.step, m.split, protocol, *error, digest))
    return measured


def records_of_plugins(m: Reconstructed | Generated, generated: bool) -> list[Record]:
    """The records of the metrics that a user added. Raises `Trouble` that names the metric in which anything fails."""
    measured = []
    for name in plugin_metrics.metrics(generated):
        try:
            measured += records(m, [name])
        except Exception as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise Trouble(f"the metric {name} fails on {m.split}: {reason}") from error
    return measured


def _content(m: Reconstructed | ImagePairs | Generated) -> str:
    """What decides the content of a data set besides its name: two folders of one size are two protocols."""
    data = m.experiment.data
    if protocol_texts.decided_by_name(data):
        return f"; data {protocol_texts.data_set(data)}" if data.argument else ""
    return f"; data `{data.name}`, content {m.content}"
