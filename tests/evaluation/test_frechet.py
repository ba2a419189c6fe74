"""Fréchet distances against closed forms and other ways to compute them, and their extrapolation on known Gaussians."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from harness.evaluation import frechet
from harness.evaluation.frechet import FeatureMoments, Gaussian, Infinite, distance, infinite, of_features

ROOT = Path(__file__).resolve().parents[2]
D = 12
SETS = 60  # simulated, to see how often an interval covers
FEW = 100  # images of each


def drawn(*shape: int, seed: int = 0) -> Tensor:
    """N(0, 1), float64."""
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def features(n: int, seed: int, mean: float = 0.0, d: int = D) -> Tensor:
    """Correlated features (n, d) in float64."""
    mixing, about = drawn(d, d, seed=1000 + seed), drawn(d, seed=2000 + seed)
    return drawn(n, d, seed=seed) @ mixing + about + mean


def by_numpy(x: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance."""
    return x.double().numpy().mean(0), np.cov(x.double().numpy(), rowvar=False)


def by_eigenvalues(a: Tensor, b: Tensor) -> float:
    """The distance of features by the eigenvalues of the product of their covariances, which is not symmetric."""
    (mean_a, cov_a), (mean_b, cov_b) = by_numpy(a), by_numpy(b)
    overlap = np.sqrt(scipy.linalg.eigvals(cov_a @ cov_b).real.clip(0)).sum()
    return float(((mean_a - mean_b) ** 2).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * overlap)


def rotation(d: int = D, seed: int = 0) -> Tensor:
    return torch.linalg.qr(drawn(d, d, seed=seed)).Q


# FeatureMoments


def close(found: FeatureMoments, expected: FeatureMoments, tolerance: float = 1e-12) -> None:
    assert found.n == expected.n
    for ours, theirs in ((found.mean, expected.mean), (found.scatter, expected.scatter)):
        assert ours.dtype == torch.float64
        torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance * theirs.abs().max().item())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("mean", [0.0, 3e3])
@pytest.mark.parametrize("sizes", [[1] * 150, [149, 1], [1, 149], [64, 64, 22], [50, 50, 50], [7, 90, 53], [150]])
def test_moments_add_up_in_any_split(sizes, mean, dtype):
    x = features(sum(sizes), 3, mean).to(dtype)
    about, covariance = by_numpy(x)
    found = frechet.moments(x.split(sizes))
    close(found, FeatureMoments(150, torch.from_numpy(about), 149 * torch.from_numpy(covariance)))
    if len(sizes) > 1:  # the order of the parts and of the additions
        parts = [FeatureMoments.of(part) for part in x.split(sizes)]
        close(parts[-1] + sum(parts[1:-1], parts[0]), found)
    torch.testing.assert_close(found.gaussian.covariance, torch.from_numpy(covariance), rtol=1e-10, atol=1e-9)


def test_a_large_mean_of_float32_features_swallows_nothing():
    x = (features(4000, 0) + 1e4).float()
    naive = x.T @ x / len(x) - torch.outer(x.mean(0), x.mean(0))
    expected = torch.from_numpy(by_numpy(x)[1])
    assert (naive - expected).abs().max() > 0.1  # what is to be avoided
    found = frechet.moments(x.split(1000)).gaussian.covariance
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-10)


def test_a_gaussian_takes_two_images_and_moments_take_one():
    one = FeatureMoments.of(features(1, 0))
    assert not one.scatter.any()
    with pytest.raises(ValueError, match="at least two"):
        _ = one.gaussian
    with pytest.raises(ValueError, match="no features"):
        frechet.moments([])
    two = (one + FeatureMoments.of(features(1, 1))).gaussian
    assert torch.linalg.matrix_rank(two.covariance) == 1


def test_moments_of_a_stream_take_no_more_memory_for_more_images():
    def peak(parts: int) -> int:
        """Of NumPy's arrays and Python's objects, in bytes; torch's tensors are views of them or of one size."""

        def stream() -> Iterator[Tensor]:
            rng = np.random.default_rng(0)
            for _ in range(parts):
                yield torch.from_numpy(rng.normal(size=(256, 64)))

        tracemalloc.start()
        frechet.moments(stream())
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(2)  # what is made once
    assert peak(40) < 1.2 * peak(10)


# The distance


def test_a_factor_is_a_root_of_the_covariance():
    for covariance in (by_numpy(features(200, 0))[1], by_numpy(features(5, 0))[1], np.zeros((D, D))):
        factor = Gaussian(torch.zeros(D).double(), torch.from_numpy(covariance)).factor
        np.testing.assert_allclose((factor @ factor.T).numpy(), covariance, rtol=0, atol=1e-12 * covariance.max())


def test_the_distance_of_gaussians_along_the_same_axes_has_its_closed_form():
    """Sum over axes of squared differences of means and of standard deviations, whatever the axes."""
    axes = rotation()
    for seed in range(5):
        mean_a, mean_b = drawn(D, seed=seed), drawn(D, seed=seed + 10)
        std_a, std_b = drawn(D, seed=seed + 20).abs(), drawn(D, seed=seed + 30).abs()
        std_a[:seed] = std_b[1 : 2 * seed] = 0  # degenerate ones too
        a, b = Gaussian(mean_a, axes * std_a**2 @ axes.T), Gaussian(mean_b, axes * std_b**2 @ axes.T)
        expected = ((mean_a - mean_b) ** 2 + (std_a - std_b) ** 2).sum().item()
        assert distance(a, b) == pytest.approx(expected, rel=1e-6 if seed else 1e-12)


def test_the_distance_in_one_dimension_and_of_points():
    a, b = torch.tensor([[0.0], [2.0]]), torch.tensor([[5.0], [9.0]])
    assert of_features(a, b) == pytest.approx(6**2 + (math.sqrt(2) - math.sqrt(8)) ** 2, rel=1e-12)
    point, other = torch.ones(5, 3), torch.tensor([4.0, 5.0, 1.0]).expand(5, 3)
    assert of_features(point, other) == pytest.approx(25, rel=1e-12)


@pytest.mark.parametrize("n", [3, 8, D, D + 1, 400])
@pytest.mark.parametrize("m", [5, 500])
def test_the_distance_is_that_by_eigenvalues_of_the_product(n, m):
    a, b = features(n, 0), features(m, 1)
    trace = np.trace(by_numpy(a)[1]) + np.trace(by_numpy(b)[1])
    expected = by_eigenvalues(a, b)
    # Zero eigenvalues of the product come out as rounding, and their roots as its root: that way is the worse one.
    rank_deficient = min(n, m) <= D
    tolerance = 1e-6 * trace if rank_deficient else 1e-11 * trace
    assert of_features(a, b) == pytest.approx(expected, abs=tolerance)
    assert of_features(b, a) == pytest.approx(of_features(a, b), abs=1e-11 * trace)
    assert of_features(a, a) == pytest.approx(0, abs=1e-6 * trace)
    assert of_features(a, b) > 0.01 * trace


@pytest.mark.parametrize("n", [4, 9, 30])
def test_covariances_of_fewer_images_than_features_are_as_good_as_any(n):
    """In few axes the same distance has a full rank: padding with constants and turning changes nothing."""
    few = 3
    a, b = features(n, 0, d=few), features(n + 2, 1, d=few)
    wide = torch.cat([a, torch.full((n, 40 - few), 2.0)], 1) @ rotation(40)
    other = torch.cat([b, torch.full((n + 2, 40 - few), 2.0)], 1) @ rotation(40)
    assert of_features(wide, other) == pytest.approx(by_eigenvalues(a, b), rel=1e-6)


def test_a_shift_counts_by_its_square_and_a_turn_of_both_not_at_all():
    a, b = features(300, 0), features(200, 1)
    assert of_features(a + 2, a) == pytest.approx(4 * D, rel=1e-9)
    assert of_features(a @ rotation(), b @ rotation()) == pytest.approx(of_features(a, b), rel=1e-11)
    assert of_features(3 * a, 3 * b) == pytest.approx(9 * of_features(a, b), rel=1e-11)
    assert of_features(a.float(), b.float()) == pytest.approx(of_features(a, b), rel=1e-5)


def test_no_root_of_a_matrix_is_taken():
    sources = [
        path for package in ("ablations", "harness", "models", "reports") for path in ROOT.glob(f"{package}/**/*.py")
    ]
    assert ROOT / "harness/evaluation/frechet.py" in sources
    assert [path for path in sources if "sqrtm" in path.read_text()] == []


# To infinitely many images

WIDE = 24
MEAN = 0.5 * drawn(WIDE, seed=6)
FACTOR, OTHER = (drawn(WIDE, WIDE, seed=seed) / WIDE**0.5 + 0.5 * torch.eye(WIDE) for seed in (5, 7))
STANDING = Gaussian(0 * MEAN, OTHER @ OTHER.T)


def alone(seed: int) -> tuple[Tensor, Gaussian]:
    """Images of N(MEAN, FACTOR FACTOR^T) and a Gaussian that stands."""
    return drawn(FEW, WIDE, seed=seed) @ FACTOR.T + MEAN, STANDING


def in_pairs(seed: int) -> tuple[Tensor, Tensor]:
    """Reconstructions, which are their originals damped and noisy, and the originals."""
    originals = drawn(FEW, WIDE, seed=seed) @ FACTOR.T
    return 0.8 * originals + 0.3 * drawn(FEW, WIDE, seed=seed + 1_000_000) + 0.3 * MEAN, originals


SIMULATED = {
    "alone": (alone, distance(Gaussian(MEAN, FACTOR @ FACTOR.T), STANDING)),
    "paired": (
        in_pairs,
        distance(
            Gaussian(0.3 * MEAN, 0.64 * FACTOR @ FACTOR.T + 0.09 * torch.eye(WIDE)),
            Gaussian(0 * MEAN, FACTOR @ FACTOR.T),
        ),
    ),
}


def plain(images: Tensor, reference: Gaussian | Tensor) -> float:
    """The distance of the images as many as they are."""
    against = reference if isinstance(reference, Gaussian) else FeatureMoments.of(reference).gaussian
    return distance(FeatureMoments.of(images).gaussian, against)


@pytest.mark.parametrize("case", SIMULATED)
def test_the_extrapolation_is_far_nearer_to_the_truth_and_its_interval_covers_it(case):
    simulate, truth = SIMULATED[case]
    sets = [simulate(seed) for seed in range(SETS)]
    at_n = np.array([plain(*images) for images in sets]) - truth
    found = [infinite(*images, halvings=2, replicates=20) for images in sets]
    beyond = np.array([one.value for one in found]) - truth
    assert at_n.mean() > 0.05 * truth
    assert abs(beyond.mean()) < 0.15 * at_n.mean()
    assert np.sqrt((beyond**2).mean()) < 0.7 * np.sqrt((at_n**2).mean())
    covers = [one.interval[0] <= truth <= one.interval[1] for one in found]
    assert np.mean(covers) >= 0.9
    # And not by being as wide as anything.
    errors = np.array([one.error for one in found])
    assert 0.8 < errors.mean() / beyond.std() < 1.8
    if case == "paired":  # where the bias is most of the error, the distance itself is not in the interval
        assert np.mean([abs(error) < 1.96 * one.error for error, one in zip(at_n, found, strict=True)]) < 0.6


@pytest.mark.parametrize("n", [4, 5, 11, 2 * WIDE, FEW])
@pytest.mark.parametrize("case", SIMULATED)
def test_the_extrapolation_is_twice_the_distance_less_that_of_halves(case, n):
    """Of fewer images than features and of more, with one left over of an odd number."""
    images, reference = SIMULATED[case][0](0)
    images, reference = images[:n], reference[:n] if isinstance(reference, Tensor) else reference
    generator, halves = torch.Generator().manual_seed(0), []
    for _ in range(3):
        order = torch.randperm(n, generator=generator)
        for half in order[: n // 2 * 2].split(n // 2):
            halves.append(plain(images[half], reference[half] if isinstance(reference, Tensor) else reference))
    found = infinite(images, reference, halvings=3, replicates=2)
    assert found.value == pytest.approx(2 * plain(images, reference) - np.mean(halves), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("case", SIMULATED)
def test_the_extrapolation_is_the_same_every_time_and_whatever_was_drawn_before(case):
    images, reference = SIMULATED[case][0](0)
    given = images.clone()
    first = infinite(images, reference, replicates=5)
    torch.rand(3)
    before = torch.random.get_rng_state()
    assert infinite(images, reference, replicates=5) == first
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(images, given)
    as_float32 = infinite(
        images.float(), reference.float() if isinstance(reference, Tensor) else reference, replicates=5
    )
    assert as_float32 == pytest.approx(first, rel=1e-3)


def test_pairs_are_resampled_as_pairs():
    """Of reconstructions that are perfect nothing is left to chance."""
    originals = in_pairs(0)[1]
    found = infinite(originals, originals, replicates=5)
    trace = originals.var(0).sum().item()
    assert found == pytest.approx((0, 0), abs=1e-6 * trace)
    as_a_gaussian = infinite(originals, FeatureMoments.of(originals).gaussian, replicates=5)
    assert as_a_gaussian.error > 1e-3 * trace


def test_an_interval_is_two_standard_errors_either_way():
    assert Infinite(3.0, 0.5).interval == pytest.approx((3 - 0.98, 3 + 0.98))


@pytest.mark.parametrize("n", range(4))
def test_fewer_than_four_images_are_not_extrapolated(n):
    images, reference = alone(0)
    for against in (reference, images[:n]):
        with pytest.raises(ValueError, match="at least four"):
            infinite(images[:n], against)
