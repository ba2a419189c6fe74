"""Whether generated latents have the law of encoded ones: by two moments, and by a classifier."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from harness.evaluation.generated import Generated, LatentSets
from harness.evaluation.metrics import latent_fd, two_sample
from harness.evaluation.records import records
from harness.evaluation.reference import TrainingFeatures
from harness.experiments.plugin_metrics import SETS
from harness.networks.frozen import Outputs
from harness.store.records import Record
from tests.conftest import DRAWS, experiment

SHAPE = (4, 2)
D = 8
MANY = 4000
METRICS = ["latent_fd", "two_sample"]


def drawn(name: str, count: int = MANY, shape: tuple[int, int] = SHAPE) -> Tensor:
    """Latents (n, L, Z) from N(0, I)."""
    return DRAWS.normal(name, count, *shape)


def measured(
    generated: Tensor, encoded: Tensor, split: str = "samples", metrics: list[str] = METRICS
) -> dict[str, Record]:
    features = torch.zeros(len(generated), 3)
    m = Generated(
        Outputs(features), TrainingFeatures(features), experiment(), split, "by hand", 7, LatentSets(generated, encoded)
    )
    return {r.metric: r for r in records(m, metrics)}


def values(generated: Tensor, encoded: Tensor) -> tuple[float, float]:
    found = measured(generated, encoded)
    return found["latent_fd"].value, found["two_sample"].value


def test_two_sets_of_one_law_cannot_be_told_apart():
    distance, accuracy = values(drawn("generated"), drawn("encoded"))
    assert 0 < distance < 0.05  # of many sets about D (D + 3) / 4 n, which falls with n
    assert accuracy == pytest.approx(50, abs=3)


OTHER_LAWS = {
    "another mean": (lambda z: z + 2, 4 * D),
    "narrower": (lambda z: z / 10, 0.81 * D),
    "one number alone": (lambda z: torch.cat([z[:, :1] * 0 + 3, z[:, 1:]], 1), 2 * (9 + 1)),
    "all tokens alike": (lambda z: z[:, :1].expand(-1, 4, -1), 2 * (3 + 1)),
}


@pytest.mark.parametrize("law", OTHER_LAWS)
def test_sets_of_different_laws_are_told_apart(law):
    """The distance is that of the two Gaussians in closed form, and an error of the classifier is rare."""
    change, expected = OTHER_LAWS[law]
    distance, accuracy = values(change(drawn("generated")), drawn("encoded"))
    assert distance == pytest.approx(expected, rel=0.05)
    assert accuracy > 97


def skewed(z: Tensor) -> Tensor:
    return (z.exp() - z.exp().mean(0)) / z.exp().std(0)


def tied(z: Tensor) -> Tensor:
    """A second token as large as the first, number by number, with signs of its own."""
    return torch.cat([z[:, :1], z[:, :1].abs() * z[:, 1:2].sign(), z[:, 2:]], 1)


@pytest.mark.parametrize("change", [torch.sign, skewed, tied])
def test_the_classifier_sees_what_two_moments_do_not(change):
    """All of these have mean 0 and unit covariance, and none is a Gaussian."""
    distance, accuracy = values(change(drawn("generated")), drawn("encoded"))
    assert distance < 0.05
    assert accuracy > 90


def test_a_better_generator_is_nearer_by_both():
    encoded = drawn("encoded")
    found = [values(drawn("generated") + shift, encoded) for shift in (1.0, 0.5, 0.25, 0.0)]
    for numbers in zip(*found, strict=True):
        assert list(numbers) == sorted(numbers, reverse=True)


def test_the_classifier_is_tested_on_latents_that_it_has_not_seen():
    """Few latents of many numbers can be learned by heart: on those that were learned nobody would be at 50 %."""
    shape = (64, 8)
    _, accuracy = values(drawn("generated", 300, shape), drawn("encoded", 300, shape))
    assert accuracy == pytest.approx(50, abs=9)  # three standard errors of 300 latents


def test_the_same_twice_and_nothing_is_drawn_from_elsewhere():
    generated, encoded = drawn("generated", 200), drawn("encoded", 200) + 0.2
    before = torch.get_rng_state()
    one, other = measured(generated, encoded), measured(generated.clone(), encoded.clone())
    assert one == other
    assert torch.equal(torch.get_rng_state(), before)


def test_without_latents_there_is_nothing_to_measure():
    outputs, reference = Outputs(torch.zeros(30, 3)), TrainingFeatures(torch.zeros(30, 3))
    m = Generated(outputs, reference, experiment(), "samples", "by hand")
    assert latent_fd.measure(m) is two_sample.measure(m) is None
    assert records(m, METRICS) == []


def test_only_what_a_generator_or_the_prior_makes_has_latents_to_compare():
    generated, encoded = drawn("generated", 60), drawn("encoded", 60)
    found = {split for split in SETS if measured(generated, encoded, split)}
    assert found == {"samples", "guided", "prior"}


def test_records_say_how_many_and_by_what():
    found = measured(drawn("generated", 301), drawn("encoded", 250))
    assert found["latent_fd"].n == 301
    assert "posterior of each of 250 training images" in found["latent_fd"].protocol
    assert found["two_sample"].n == 250  # of each kind half of 250 are tested
    assert "fitted on 125 latents of each kind, tested on as many others" in found["two_sample"].protocol
    for record in found.values():
        assert record.protocol.endswith("; by hand")
        assert "normalised in every channel as the generator's are" in record.protocol
        assert (record.step, record.split) == (7, "samples")


def test_of_many_latents_the_first_are_classified(monkeypatch):
    generated, encoded = drawn("generated", 300), drawn("encoded", 300) + 0.5
    first = measured(generated[:100], encoded[:100])["two_sample"]
    monkeypatch.setattr(two_sample, "MOST", 100)
    assert measured(generated, encoded)["two_sample"] == first
    assert first.n == 100


@pytest.mark.parametrize(("generated", "encoded", "some"), [(1, 30, False), (30, 1, False), (2, 2, True)])
def test_a_covariance_takes_two_latents(generated, encoded, some):
    found = measured(drawn("generated", generated), drawn("encoded", encoded), metrics=["latent_fd"])
    assert ("latent_fd" in found) == some


@pytest.mark.parametrize("count", [2, 3, 6, 11, 16])
def test_few_latents_are_classified_or_left_out(count):
    found = measured(drawn("generated", count), drawn("encoded", count))
    assert found.get("two_sample") is None or 0 <= found["two_sample"].value <= 100
