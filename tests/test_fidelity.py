from __future__ import annotations

import numpy as np
import pytest
import torch
import torch_fidelity
from torch import Tensor
from torch.nn import functional
from torch_fidelity.feature_extractor_base import FeatureExtractorBase

from harness import fidelity, networks
from harness.experiment import Evaluation
from harness.machine import Machine
from harness.metrics import Generated, records
from tests.conftest import experiment, photograph

MACHINE = Machine("cpu", "float32", 1)
SIDE, PX = 32, 64
IMAGES, REFERENCE = 160, 140  # more than the 120 features, and not as many
D = 6


def crops(count: int, left: int, contrast: float) -> Tensor:
    """Crops of a photograph, uint8 (n, 3, SIDE, SIDE), beginning `left` pixels from its left edge or further right."""
    source, rng = np.asarray(photograph(), np.float32), np.random.default_rng(left)
    corners = rng.integers((0, left), (source.shape[0] - SIDE, left + 280), (count, 2))
    pixels = np.stack([source[y : y + SIDE, x : x + SIDE] for y, x in corners])
    pixels = (pixels - 128) * contrast + 128
    return torch.from_numpy(pixels.clip(0, 255).round().astype(np.uint8)).permute(0, 3, 1, 2).contiguous()


class Lite2(FeatureExtractorBase):
    """What `harness.fidelity` looks at, by timm's own forward pass and a preprocessing of our own."""

    def __init__(self, name: str, features_list: list[str], **_: object):
        super().__init__(name, features_list)
        self.net = networks.efficientnet_lite(networks.MEASURE, MACHINE).net

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return ("features", "logits")

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return "logits" if metric == "isc" else "features"

    @staticmethod
    def can_be_compiled() -> bool:
        return False

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        assert images.dtype == torch.uint8
        x = functional.interpolate(images.float(), size=(PX, PX), mode="bicubic", antialias=True).clamp(0, 255)
        x = (x - 127) / 128
        stage = self.net.blocks[:5](self.net.bn1(self.net.conv_stem(x)))
        found = {"features": stage.mean((2, 3)), "logits": self.net(x)}
        return tuple(found[name] for name in self.features_list)


torch_fidelity.register_feature_extractor("lite2-of-the-tests", Lite2)


class Images(torch.utils.data.Dataset):
    def __init__(self, images: Tensor):
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, place: int) -> Tensor:
        return self.images[place]


@pytest.fixture(scope="module")
def sets() -> tuple[Tensor, Tensor]:
    """Images and reference: overlapping sets, the first of less contrast."""
    return crops(IMAGES, 200, 0.7), crops(REFERENCE, 0, 1.0)


@pytest.fixture(scope="module")
def looked_at(sets: tuple[Tensor, Tensor]) -> tuple[fidelity.Features, fidelity.Features]:
    images, reference = (fidelity.look(images, PX, MACHINE) for images in sets)
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
    assert fidelity.frechet(images, reference) == pytest.approx(expected["frechet_inception_distance"], rel=1e-4)
    assert fidelity.frechet(images, reference) > 10


@pytest.mark.parametrize(("asked", "size"), [(50, 50), (1000, REFERENCE)])
def test_kernel_is_that_of_torch_fidelity_on_subsets_no_larger_than_the_sets(asked, size, sets, looked_at):
    expected = judged(sets, kid=True, kid_subsets=20, kid_subset_size=size)
    images, reference = (found.features for found in looked_at)
    mean, deviation = fidelity.kernel(images, reference, Evaluation(kid_subset_images=asked, kid_subsets=20))
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
    for ours, theirs in zip(looked_at[0], expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


def test_what_is_seen_does_not_depend_on_batches_parts_or_dtype(sets, looked_at):
    images = sets[0]
    bfloat16 = Machine("cpu", "bfloat16", 1)
    in_parts = fidelity.together([fidelity.look(part, PX, bfloat16) for part in images.split(70)])
    assert in_parts.features.shape == (IMAGES, 120)
    assert in_parts.logits.shape == (IMAGES, 1000)
    for ours, theirs in zip(in_parts, looked_at[0], strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    alone = fidelity.features(images[:70], PX, MACHINE)
    torch.testing.assert_close(alone, looked_at[0].features[:70], rtol=1e-4, atol=1e-4)
    smaller = fidelity.features(images[:70], SIDE, MACHINE)
    assert not torch.allclose(smaller, alone, atol=0.1)


def test_the_frechet_distance_of_a_set_from_itself_is_0(looked_at):
    features = looked_at[0].features
    assert fidelity.frechet(features, features) == pytest.approx(0, abs=1e-4 * features.var(0).sum().item())


def gaussian(name: str) -> tuple[np.ndarray, np.ndarray, Tensor]:
    """A mean, a covariance, and features whose sample moments are these."""
    rng = np.random.default_rng(len(name))
    mean, root = rng.normal(size=D), rng.normal(size=(D, D))
    covariance = root @ root.T + 0.1 * np.eye(D)
    x = rng.normal(size=(200, D))
    x -= x.mean(0)
    white = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T
    return mean, covariance, torch.from_numpy(white @ np.linalg.cholesky(covariance).T + mean)


def test_the_frechet_distance_of_gaussians_has_its_closed_form():
    (mean_a, covariance_a, a), (mean_b, covariance_b, b) = gaussian("a"), gaussian("other")
    values, vectors = np.linalg.eigh(covariance_a)
    root = vectors * np.sqrt(values) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ covariance_b @ root)).sum()
    expected = ((mean_a - mean_b) ** 2).sum() + np.trace(covariance_a) + np.trace(covariance_b) - 2 * cross
    assert fidelity.frechet(a, b) == pytest.approx(expected, rel=1e-9)
    assert fidelity.frechet(a.float(), b.float()) == pytest.approx(expected, rel=1e-5)
    assert fidelity.frechet(a + 2, a) == pytest.approx(4 * D, rel=1e-9)


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


def generated(count: int, looked_at: tuple[fidelity.Features, fidelity.Features]) -> Generated:
    images, reference = looked_at
    few = fidelity.Features(images.features[:count], images.logits[:count])
    return Generated(few, reference.features, experiment(), "samples", "drawn")


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
        (4, {"gfd", "gkid", "precision", "recall"}),
        (19, {"gfd", "gkid", "precision", "recall"}),
        (20, {"gfd", "gkid", "precision", "recall", "classifier_score"}),
    ],
)
def test_metrics_are_not_defined_on_fewer_images_than_they_need(count, defined, looked_at):
    assert {record.metric for record in records(generated(count, looked_at))} == defined
