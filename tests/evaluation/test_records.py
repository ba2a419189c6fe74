"""Numbers as tables print them: a distance has the digits of the network that it is measured on."""

from __future__ import annotations

import pytest

from harness.evaluation import records
from harness.evaluation.protocols import PROTOCOLS
from harness.evaluation.records import digits_of, number, text_of
from harness.store.records import Record
from harness.system import plugins

MEASURES = plugins.names("harness.networks.measures")
METRICS = plugins.names("harness.evaluation.metrics")


def record(metric: str, protocol: str, value: float, **error: object) -> Record:
    return Record(metric, value, 50_000, 1, "val", "words", protocol_id=f"{protocol}-01234567", **error)


@pytest.mark.parametrize(
    ("metric", "protocol", "value", "expected"),
    [
        ("kid", "lite", 1564.1234, "1564.1"),
        ("kid", "inception", 0.00175, "0.00175"),
        ("kid", "rfid-val50k", 0.00175, "0.00175"),
        ("gkid", "adm256", 0.0283, "0.02830"),
        ("gkid", "dinov2", 0.4719, "0.472"),
        ("gfd", "lite", 1532.73, "1532.7"),
        ("gfd", "adm256", 1.437, "1.44"),
        ("rfd", "rfid-val50k", 0.4313, "0.43"),
        ("rfd_infinity", "inception", 0.4313, "0.43"),
        ("gkid", "inception-other-weights-012345", 0.0283, "0.02830"),
        ("psnr", "inception", 25.0789, "25.08"),
    ],
)
def test_a_number_has_the_digits_of_what_measured_it(metric, protocol, value, expected):
    assert text_of(record(metric, protocol, value)) == expected


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("protocol", [*MEASURES, *PROTOCOLS])
def test_every_metric_has_digits_by_every_network_and_protocol(metric, protocol):
    assert 0 <= digits_of(metric, protocol) <= 6


@pytest.mark.parametrize("network", plugins.names("harness.networks.measures"))
def test_no_distance_is_called_by_the_literature_for_its_network_alone(network):
    for name in plugins.ours("harness.evaluation.metrics"):
        for called in (records.title(name, network), records.full_title(name, network), records.title(name, "lite")):
            assert not {"FID", "KID"} & {called[k : k + 3] for k in range(len(called))}, called


def test_errors_have_the_digits_of_their_number():
    with_error = record("kid", "inception", 0.00175, deviation=0.000123, interval=(0.0011, 0.0024))
    assert text_of(with_error) == "0.00175 ± 0.00012 [0.00110, 0.00240]"
    assert number(2.0, 1, 0.25, sign=True) == "+2.0 ± 0.2"


def test_zero_has_no_minus():
    assert number(-0.001, 2, 0.0, (-0.004, 0.2), sign=True) == "+0.00 ± 0.00 [0.00, 0.20]"
