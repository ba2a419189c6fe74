"""Distances and scores against torch-fidelity's front door, scikit-learn and NumPy; and in how much memory."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch_fidelity
from sklearn.neighbors import NearestNeighbors
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch_fidelity.feature_extractor_base import FeatureExtractorBase

from harness.evaluation import fidelity, frechet
from harness.evaluation.generated import Generated
from harness.evaluation.records import records
from harness.evaluation.reference import TrainingFeatures
from harness.networks import frozen
from harness.networks.frozen import Outputs
from harness.networks.measures import lite2
from harness.system.machine import Machine
from tests.conftest import experiment, photograph

MACHINE = Machine("cpu", "float32", 1)
SIDE, PX = 32, 64
IMAGES, REFERENCE = 160, 140  # more than the 120 features, and not as many
CLASSES = 30
BLOCKS = [1, 7, 64, 100_000]


def crops(count: int, left: int, contrast: float) -> Tensor:
    """Crops of a photograph, uint8 (n, 3, SIDE, SIDE), beginning `left` pixels from its left edge or further right."""
    source, rng = np.asarray(photograph(), np.float32), np.random.default_rng(left)
    corners = rng.integers((0, left), (source.shape[0] - SIDE, left + 280), (count, 2))
    pixels = np.stack([source[y : y + SIDE, x : x + SIDE] for y, x in corners])
    pixels = (pixels - 128) * contrast + 128
    return torch.from_numpy(pixels.clip(0, 255).round().astype(np.uint8)).permute(0, 3, 1, 2).contiguous()


class Lite2(FeatureExtractorBase):
    """What `harness.evaluation.fidelity` looks at, by timm's own forward pass and a preprocessing of our own."""

    def __init__(self, name: str, features_list: list[str], **_: object):
        super().__init__(name, features_list)
        self.net = frozen.efficientnet_lite(frozen.MEASURE, MACHINE).net

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


@pytest.mark.parametrize(("asked", "size"), [(50, 50), (1000, REFERENCE)])
def test_kernel_is_that_of_torch_fidelity_on_subsets_no_larger_than_the_sets(asked, size, sets, looked_at):
    expected = judged(sets, kid=True, kid_subsets=20, kid_subset_size=size)
    images, reference = (found.features for found in looked_at)
    mean, deviation = fidelity.kernel(images, reference, 20, asked)
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


# Random features


def random(n: int, seed: int, d: int = 16) -> Tensor:
    """Features (n, d), float32, of overlapping sets: every other one is narrower."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(0.2 * (seed % 3), 1 - 0.3 * (seed % 2), (n, d)).astype(np.float32))


def logits(n: int, seed: int = 0) -> Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(0, 3, (n, CLASSES)).astype(np.float32))


def mmd2(x: Tensor, y: Tensor) -> float:
    """Its unbiased estimate (Gretton et al. 2012) by the cubic kernel of Bińkowski et al. (2018)."""
    x, y = x.double().numpy(), y.double().numpy()
    of_x, of_y, between = ((a @ b.T / a.shape[1] + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
    same = ((of.sum() - np.trace(of)) / (len(of) * (len(of) - 1)) for of in (of_x, of_y))
    return float(sum(same) - 2 * between.mean())


def score_by_numpy(values: Tensor) -> float:
    x = values.double().numpy()
    p = np.exp(x - x.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    return float(np.exp((p * np.log(p / p.mean(0))).sum(1).mean()))


def within_neighbours(features: Tensor, others: Tensor) -> float:
    """The share of features that lie in the ball of any other up to its third neighbour, by scikit-learn."""
    x, y = features.double().numpy(), others.double().numpy()
    radii = NearestNeighbors(n_neighbors=4).fit(y).kneighbors(y)[0][:, -1]
    distances, of = NearestNeighbors(n_neighbors=len(y)).fit(y).kneighbors(x)
    return float((distances <= radii[of]).any(1).mean())


@pytest.mark.parametrize(("n", "m"), [(300, 260), (9, 11), (5, 300)])
def test_precision_and_recall_are_those_of_scikit_learn_in_float64(n, m):
    images, reference = random(n, 1), random(m, 2)
    found = fidelity.precision_recall(images, reference)
    expected = within_neighbours(images, reference), within_neighbours(reference, images)
    assert found == pytest.approx(expected, abs=1e-5)
    if n > m:
        assert all(0.1 < share < 0.99 for share in found)


def test_kernel_of_whole_sets_is_the_unbiased_estimate_of_mmd2():
    images, reference = random(60, 1), random(60, 2)
    mean, deviation = fidelity.kernel(images, reference, 3, 60)
    assert mean == pytest.approx(mmd2(images, reference), rel=1e-5)
    assert mean > 0.05
    assert deviation == pytest.approx(0, abs=1e-5 * mean)


def test_kernel_of_subsets_has_no_bias_and_says_how_much_they_differ():
    images, reference = random(300, 1), random(300, 2)
    mean, deviation = fidelity.kernel(images, reference, 200, 50)
    assert mean == pytest.approx(mmd2(images, reference), abs=4 * deviation / 200**0.5)
    assert 0 < fidelity.kernel(images, reference, 200, 150)[1] < 0.7 * deviation
    halves = fidelity.kernel(reference[:150], reference[150:], 200, 50)
    assert halves[0] == pytest.approx(mmd2(reference[:150], reference[150:]), abs=4 * halves[1] / 200**0.5)
    assert abs(halves[0]) < 0.2 * mean


@pytest.mark.parametrize("n", [40, 333])
def test_classifier_score_is_its_formula_in_numpy(n, monkeypatch):
    monkeypatch.setattr(fidelity, "SPLITS", 1)  # where the order of the images does not count
    mean, deviation = fidelity.classifier_score(logits(n))
    assert mean == pytest.approx(score_by_numpy(logits(n)), rel=1e-5)
    assert deviation == 0


def test_every_image_is_in_one_split_of_the_classifier_score():
    """One of a hundred images is another: only its split does not score 1, wherever the shuffle puts it."""
    assert fidelity.SPLITS == 10
    another, alike = 10 * torch.eye(CLASSES)[:1], torch.zeros(9, CLASSES)
    scores = np.array([1.0] * 9 + [score_by_numpy(torch.cat([another, alike]))])
    expected = pytest.approx((scores.mean(), scores.std()), rel=1e-5)
    for place in (0, 42, 99):
        logits = torch.zeros(100, CLASSES)
        logits[place] = another
        assert fidelity.classifier_score(logits) == expected
    for place in range(25):  # which do not make ten equal splits
        logits = torch.zeros(25, CLASSES)
        logits[place] = another
        assert fidelity.classifier_score(logits)[0] > 1.01


def test_images_sorted_by_class_score_as_those_in_any_order():
    of_classes = 12 * torch.eye(CLASSES)
    mean, _ = fidelity.classifier_score(of_classes.repeat_interleave(40, 0))
    assert mean == pytest.approx(fidelity.classifier_score(of_classes.repeat(40, 1))[0], rel=0.02)
    assert mean > 0.85 * CLASSES
    assert score_by_numpy(of_classes[:3].repeat_interleave(40, 0)) < 4  # what a split in their order would be given


def test_logits_of_any_size_have_a_score():
    for shift in (1e4, -1e4):
        assert fidelity.classifier_score(logits(60) + shift)[0] == pytest.approx(
            fidelity.classifier_score(logits(60))[0], rel=1e-2
        )
    assert fidelity.classifier_score(1e4 * torch.eye(CLASSES).repeat(10, 1))[0] <= CLASSES


@pytest.mark.parametrize("block", BLOCKS)
def test_blocks_of_any_size_give_the_same(block, monkeypatch):
    images, reference, of_images = random(150, 1), random(131, 2), logits(150)
    expected = fidelity.precision_recall(images, reference), fidelity.classifier_score(of_images)
    monkeypatch.setattr(fidelity, "BLOCK", block)
    found = fidelity.precision_recall(images, reference), fidelity.classifier_score(of_images)
    assert found[0] == pytest.approx(expected[0], abs=1e-5)
    assert found[1] == pytest.approx(expected[1], rel=1e-12)


def test_fewer_images_than_features_give_numbers_that_hold():
    images, reference = random(20, 1, 200), random(25, 2, 200)
    found = fidelity.precision_recall(images, reference)
    assert found == pytest.approx((within_neighbours(images, reference), within_neighbours(reference, images)))
    assert fidelity.kernel(images, reference[:20], 1, 20)[0] == pytest.approx(mmd2(images, reference[:20]), rel=1e-5)
    x, y = (features.double().numpy() for features in (images, reference))
    of_x, of_y = ((of - of.mean(0)) / (len(of) - 1) ** 0.5 for of in (x, y))
    overlap = np.linalg.svd(of_x @ of_y.T, compute_uv=False).sum()
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + (of_x**2).sum() + (of_y**2).sum() - 2 * overlap
    assert frechet.of_features(images, reference) == pytest.approx(expected, rel=1e-5)
    nudged = frechet.of_features(images + 1e-6 * random(20, 3, 200), reference)
    assert nudged == pytest.approx(expected, rel=1e-5)


def test_a_large_mean_swallows_no_distance():
    images, reference = random(150, 1) + 1000, random(131, 2) + 1000
    expected = within_neighbours(images, reference), within_neighbours(reference, images)
    assert fidelity.precision_recall(images, reference) == pytest.approx(expected, abs=1e-5)
    assert all(0.1 < share < 1 for share in expected)


# Memory


class Memory(TorchDispatchMode):
    """How many bytes of new tensors there were at once."""

    def __init__(self) -> None:
        super().__init__()
        self.live: dict[int, int] = {}
        self.peak = 0

    def __torch_dispatch__(
        self, function: Callable, types: object, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        made = function(*args, **(kwargs or {}))
        given = {x.untyped_storage().data_ptr() for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
        for x in tree_leaves(made):
            place = x.untyped_storage().data_ptr() if isinstance(x, Tensor) else 0
            if place and place not in given | self.live.keys():
                self.live[place] = x.untyped_storage().nbytes()
                weakref.finalize(x, self.live.pop, place, None)
        self.peak = max(self.peak, sum(self.live.values()))
        return made


def peak(function: Callable[[], object]) -> int:
    with Memory() as memory:
        function()
    return memory.peak


def test_the_measure_of_memory_sees_what_is_held():
    x = torch.zeros(1000)
    held = peak(lambda: [x + i for i in range(5)])
    assert held == 5 * 4000
    assert peak(lambda: sum(x + i for i in range(5))) <= 3 * 4000
    assert peak(lambda: x.view(10, 100).T[3:]) == 0


BLOCKWISE: dict[str, Callable[[Tensor, Tensor], object]] = {
    "precision and recall": fidelity.precision_recall,
    "classifier score": lambda x, y: fidelity.classifier_score(x),
    "moments": lambda x, y: frechet.moments(x.split(fidelity.BLOCK)),
}


@pytest.mark.parametrize("case", BLOCKWISE)
def test_memory_hardly_grows_with_the_number_of_images(case, monkeypatch):
    """By a few numbers for every image; the distances of all from all would be a hundred times as much."""
    monkeypatch.setattr(fidelity, "BLOCK", 128)
    sets = {n: (random(n, 1), random(n, 2)) for n in (512, 1536)}
    few, many = (peak(lambda both=both: BLOCKWISE[case](*both)) for both in sets.values())
    assert few >= 4 * 16 * 16  # there is something to be measured
    assert many <= few + 32 * (1536 - 512)


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
