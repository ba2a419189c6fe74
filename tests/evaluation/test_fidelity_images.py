"""Distances and scores of images against torch-fidelity's front door, and of sets whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch_fidelity
from torch import Tensor

from harness.evaluation import fidelity, frechet
from harness.evaluation.generated import Generated
from harness.evaluation.records import records
from harness.evaluation.reference import TrainingFeatures
from harness.networks.frozen import Outputs
from harness.networks.measures import lite2
from harness.system.machine import Machine
from tests.conftest import experiment, photograph
from tests.evaluation.judges import MACHINE, PX, Images, Lite2

SIDE = 32
IMAGES, REFERENCE = 160, 140  # more than the 120 features, and not as many


def crops(count: int, left: int, contrast: float) -> Tensor:
    """Crops of a photograph, uint8 (n, 3, SIDE, SIDE), beginning `left` pixels from its left edge or further right."""
    source, rng = np.asarray(photograph(), np.float32), np.random.default_rng(left)
    corners = rng.integers((0, left), (source.shape[0] - SIDE, left + 280), (count, 2))
    pixels = np.stack([source[y : y + SIDE, x : x + SIDE] for y, x in corners])
    pixels = (pixels - 128) * contrast + 128
    return torch.from_numpy(pixels.clip(0, 255).round().astype(np.uint8)).permute(0, 3, 1, 2).contiguous()


@pytest.fixture(scope="module")
def sets() -> tuple[Tensor, Tensor]:
    """Images and reference: overlapping sets, the first of less contrast."""
    return crops(IMAGES, 200, 0.7), crops(REFERENCE, 0, 1.0)


@pytest.fixture(scope="module")
def looked_at(sets: tuple[Tensor, Tensor]) -> tuple[Outputs, Outputs]:
    network = lite2.load(MACHINE, PX)
    images, reference = (fidelity.outputs(images, network) for images in sets)
    return images, reference


def judged(sets: tuple[Tensor, Tensor], **options: object) -> dict[str, float]:
    """What torch-fidelity's front door says."""
    return torch_fidelity.calculate_metrics(
        input1=Images(sets[0]),
        input2=Images(sets[1]),
        feature_extractor="lite2-of-the-tests",
        cuda=False,
        verbose=False,
        save_cpu_ram=True,  # no worker processes
        **options,
    )


@pytest.fixture(scope="module")
def expected(sets: tuple[Tensor, Tensor]) -> dict[str, float]:
    return judged(sets, fid=True, isc=True, prc=True)


def test_frechet_is_that_of_torch_fidelity(expected, looked_at):
    images, reference = (found.features for found in looked_at)
    found = frechet.of_features(images, reference)
    assert found == pytest.approx(expected["frechet_inception_distance"], rel=1e-4)
    assert found > 10


@pytest.mark.parametrize(("wanted", "size"), [(50, 50), (1000, REFERENCE)])
def test_kernel_is_that_of_torch_fidelity_on_subsets_no_larger_than_the_sets(wanted, size, sets, looked_at):
    expected = judged(sets, kid=True, kid_subsets=20, kid_subset_size=size)
    images, reference = (found.features for found in looked_at)
    mean, deviation = fidelity.kernel(images, reference, 20, wanted)
    assert mean == pytest.approx(expected["kernel_inception_distance_mean"], rel=1e-3)
    assert deviation == pytest.approx(expected["kernel_inception_distance_std"], rel=1e-3)


def test_classifier_score_is_that_of_torch_fidelity(expected, looked_at):
    mean, deviation = fidelity.classifier_score(looked_at[0].logits)
    assert mean == pytest.approx(expected["inception_score_mean"], rel=1e-4)
    assert deviation == pytest.approx(expected["inception_score_std"], rel=1e-3)
    assert mean > 1.5


def test_precision_and_recall_are_those_of_torch_fidelity(expected, looked_at):
    precision, recall = fidelity.precision_recall(*(found.features for found in looked_at))
    assert precision == pytest.approx(expected["precision"], abs=0.5 / IMAGES)
    assert recall == pytest.approx(expected["recall"], abs=0.5 / REFERENCE)
    assert 0.05 < precision < recall - 0.05 < 0.9


def test_features_are_those_of_the_network_at_the_size_that_is_asked_for(sets, looked_at):
    with torch.no_grad():
        expected = Lite2("lite2-of-the-tests", ["features", "logits"])(sets[0])
    assert looked_at[0].spatial is None
    for ours, theirs in zip(looked_at[0][:2], expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


def test_what_is_seen_does_not_depend_on_batches_parts_or_dtype(sets, looked_at):
    images = sets[0]
    bfloat16 = Machine("cpu", "bfloat16", 1)
    network = lite2.load(bfloat16, PX)
    in_parts = fidelity.concatenated([fidelity.outputs(part, network) for part in images.split(70)])
    assert in_parts.features.shape == (IMAGES, 120)
    assert in_parts.logits.shape == (IMAGES, 1000)
    for ours, theirs in zip(in_parts[:2], looked_at[0][:2], strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    alone = fidelity.features(images[:70], PX, MACHINE)
    torch.testing.assert_close(alone, looked_at[0].features[:70], rtol=1e-4, atol=1e-4)
    smaller = fidelity.features(images[:70], SIDE, MACHINE)
    assert not torch.allclose(smaller, alone, atol=0.1)


# Sets of which the answer is known


def test_a_part_of_the_reference_is_precise_and_does_not_recall_all(looked_at):
    reference = looked_at[1].features
    precision, recall = fidelity.precision_recall(reference[:20], reference)
    assert precision == 1
    assert 0 < recall < 1
    assert fidelity.precision_recall(reference, reference[:20]) == (recall, 1)
    assert fidelity.precision_recall(reference + 1000, reference) == (0, 0)


def test_images_that_all_look_alike_have_a_score_of_1():
    logits = torch.randn(1, 1000, generator=torch.Generator().manual_seed(0)).expand(50, -1)
    assert fidelity.classifier_score(logits) == pytest.approx((1, 0), abs=1e-6)


def generated(count: int, looked_at: tuple[Outputs, Outputs]) -> Generated:
    images, reference = looked_at
    few = Outputs(images.features[:count], images.logits[:count])
    return Generated(few, TrainingFeatures(reference.features), experiment(), "samples", "drawn")


def test_precision_takes_as_many_training_images_as_there_are_images_from_the_whole_set(looked_at):
    found, reference = generated(35, looked_at), looked_at[1].features
    assert found.precision_recall == fidelity.precision_recall(found.features[0], reference[::4])
    assert found.precision_recall != fidelity.precision_recall(found.features[0], reference[:35])


@pytest.mark.parametrize(
    ("count", "defined"),
    [
        (1, set()),
        (2, {"gfd", "gkid"}),
        (3, {"gfd", "gkid"}),
        (4, {"gfd", "gfd_infinity", "gkid", "precision", "recall"}),
        (19, {"gfd", "gfd_infinity", "gkid", "precision", "recall"}),
        (20, {"gfd", "gfd_infinity", "gkid", "precision", "recall", "classifier_score"}),
    ],
)
def test_metrics_are_not_defined_on_fewer_images_than_they_need(count, defined, looked_at):
    assert {record.metric for record in records(generated(count, looked_at))} == defined


def test_records_say_how_many_images_they_rest_on_by_which_protocol_and_how_sure_they_are(looked_at):
    found = {record.metric: record for record in records(generated(35, looked_at))}
    assert {name for name, record in found.items() if record.deviation is not None} == {"gkid", "classifier_score"}
    assert {name for name, record in found.items() if record.interval is not None} == {"gfd_infinity"}
    low, high = found["gfd_infinity"].interval
    assert low < found["gfd_infinity"].value < high
    assert {record.n for record in found.values()} == {35}
    ids = {name: record.protocol_id for name, record in found.items()}
    assert len(set(ids.values())) == len(ids)
    assert all(one.startswith("lite-") for one in ids.values())
    assert {record.metric: record.protocol_id for record in records(generated(35, looked_at))} == ids
    of_fewer = {record.metric: record.protocol_id for record in records(generated(34, looked_at))}
    assert of_fewer.keys() == ids.keys()
    assert not set(of_fewer.values()) & set(ids.values())
