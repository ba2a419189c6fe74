"""Distances and scores of random features against scikit-learn and NumPy; and in how much memory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from harness.evaluation import fidelity, frechet
from tests.evaluation.judges import peak

CLASSES = 30
BLOCKS = [1, 7, 64, 100_000]


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
