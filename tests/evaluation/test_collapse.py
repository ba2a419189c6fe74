from __future__ import annotations

import math
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import nn

from harness.data.splits import SPLITS
from harness.evaluation import collapse
from harness.evaluation.reconstructed import Reconstructed
from harness.evaluation.records import SETS, digits_of
from harness.evaluation.validation import Validation
from harness.system import plugins
from harness.system.machine import Machine
from harness.system.randomness import Draws
from models.posterior import Posterior
from models.tokenizer import Tokenizer
from tests.conftest import experiment

METRICS = plugins.names("harness.evaluation.metrics")
CPU = Machine("cpu", "float32", 1)
DRAWS = Draws(0, "tests", 0)

# Status


@pytest.mark.parametrize(
    ("kl", "active", "status"),
    [
        ([0.0, 0.2, 0.5, 0.9], 1.0, "never active"),
        ([30.0, 12.0, 0.1, 0.05], 0.0, "never active"),  # what an initialisation has of KL is no rise
        ([30.0, 2.0, 2.9], 0.5, "never active"),
        ([0.0], 0.0, "never active"),
        ([0.0, 1.0], 1.0, "active"),  # border of the rise
        ([0.0, 0.999], 1.0, "never active"),
        ([0.0, 5.0, 20.0, 25.0], 0.9, "active"),
        ([30.0, 2.0, 20.0, 18.0], 0.9, "active"),
        ([0.0, 20.0, 0.5, 15.0], 0.9, "active"),  # back from a collapse
        ([0.0, 20.0, 1.0], 0.9, "collapsed"),
        ([5.0, 20.0, 0.1], 0.9, "collapsed"),  # below where it began
        ([5.0, 25.0, 6.0], 0.9, "collapsed"),  # of the rise, not of KL, is little left
        ([5.0, 25.0, 7.0], 0.9, "partly"),  # border: a tenth of the rise
        ([0.0, 20.0, 20.0], 0.0, "collapsed"),  # KL without a unit that says anything
        ([0.0, 20.0, 9.9], 0.9, "partly"),
        ([0.0, 20.0, 10.0], 0.9, "active"),  # border: half of the rise
        ([0.0, 20.0, 20.0], 0.49, "partly"),
        ([0.0, 20.0, 20.0], 0.5, "active"),  # border: half of the units
        ([0.0, 20.0, 20.0], 1e-3, "partly"),
    ],
)
def test_status(kl, active, status):
    assert collapse.status(kl, [1.0] * (len(kl) - 1) + [active]) == status


def test_status_does_not_depend_on_how_finely_a_curve_is_sampled():
    curves = {
        "active": np.linspace(0, 20, 41),
        "collapsed": np.concatenate([np.linspace(0, 20, 41), np.linspace(20, 0.5, 40)]),
        "partly": np.concatenate([np.linspace(0, 20, 41), np.linspace(20, 5, 40)]),
        "never active": np.linspace(20, 0.5, 41),
    }
    for status, curve in curves.items():
        for kl in (curve, np.repeat(curve, 3), curve[::10]):
            assert collapse.status([*kl.tolist(), float(curve[-1])], [1.0]) == status


def test_the_rules_name_every_status():
    for status in ("never active", "collapsed", "partly", "active"):
        assert f"`{status}`" in collapse.RULES


# Active units


def test_active_units_are_those_whose_mean_varies():
    signs = torch.tensor([1.0, -1.0] * 50)
    variances = torch.tensor([[0.0, 0.0099, 0.0101], [1e-4, 0.5, 4.0]])
    scaled = (variances * 99 / 100).sqrt()  # of the unbiased variance of signs
    mean = 7 + scaled * signs[:, None, None]
    assert collapse.active_units(mean).tolist() == [[False, False, True], [False, True, True]]
    assert collapse.active_units(mean.bfloat16()).shape == (2, 3)


# The linear-Gaussian reference


def random_covariance(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(rng.normal(size=(n, n)))
    return basis * rng.uniform(0.02, 1.5, n) @ basis.T


def optimal_kl(covariance: np.ndarray, kl_weight: float, dimensions: int) -> float:
    """KL of the best linear-Gaussian autoencoder, found by descent on the objective itself.

    q(z|x) = N(A x, diag(s²)); the decoder is the best linear one for that encoder. Sampling is averaged out exactly.
    """
    n = len(covariance)

    def terms(flat: np.ndarray) -> tuple[float, float]:
        a, log_variance = flat[: dimensions * n].reshape(dimensions, n), flat[dimensions * n :]
        cross = a @ covariance
        second = cross @ a.T
        sampled = second + np.diag(np.exp(log_variance))
        error = np.trace(covariance) - np.trace(np.linalg.solve(sampled, cross) @ cross.T)
        return error / n, float(np.sum(np.diag(second) + np.exp(log_variance) - 1 - log_variance) / 2)

    def objective(flat: np.ndarray) -> float:
        error, kl = terms(flat)
        return error + kl_weight * kl

    best = None
    for seed in range(4):
        rng = np.random.default_rng(seed)
        start = np.concatenate([rng.normal(size=dimensions * n), rng.normal(size=dimensions) - 1])
        found = minimize(objective, start, method="L-BFGS-B", options={"maxiter": 2000, "maxfun": 200_000, "ftol": 0})
        best = found if best is None or found.fun < best.fun else best
    return terms(best.x)[1]


@pytest.mark.parametrize(("kl_weight", "dimensions"), [(0.02, 4), (0.1, 4), (0.3, 6), (0.02, 2), (0.1, 1)])
def test_linear_gaussian_kl_is_that_of_the_best_linear_autoencoder(kl_weight, dimensions):
    covariance = random_covariance(4, seed=3)
    found = collapse.linear_gaussian_kl(np.linalg.eigvalsh(covariance), 4, kl_weight, dimensions)
    assert found > 0.05
    assert found == pytest.approx(optimal_kl(covariance, kl_weight, dimensions), rel=2e-3)


def test_linear_gaussian_kl_at_its_limits():
    eigenvalues = np.array([0.5, 4.0, 1.0, 2.0])
    pixels = 100
    assert collapse.linear_gaussian_kl(eigenvalues, pixels, 0.0, 4) == math.inf
    assert collapse.linear_gaussian_kl(eigenvalues, pixels, 1e6, 4) == 0
    level = 0.02 * pixels / 2
    assert collapse.linear_gaussian_kl(eigenvalues, pixels, 0.02, 4) == pytest.approx(math.log(4 / level * 2) / 2)
    assert collapse.linear_gaussian_kl(eigenvalues, pixels, 0.02, 1) == pytest.approx(math.log(4 / level) / 2)
    assert collapse.linear_gaussian_kl(eigenvalues, pixels, 0.08, 4) == 0  # the level is the largest eigenvalue


def test_linear_gaussian_kl_falls_with_the_weight_and_rises_with_the_dimensions():
    eigenvalues = np.random.default_rng(0).exponential(size=30)
    by_weight = [collapse.linear_gaussian_kl(eigenvalues, 30, 10.0**k, 30) for k in range(-6, 1)]
    by_dimensions = [collapse.linear_gaussian_kl(eigenvalues, 30, 1e-5, d) for d in range(1, 60)]
    assert by_weight == sorted(by_weight, reverse=True)
    assert by_dimensions == sorted(by_dimensions)
    assert by_dimensions[28] < by_dimensions[29] == by_dimensions[58]


@pytest.mark.parametrize("images", [20, 200], ids=["wide", "tall"])
def test_pixel_eigenvalues_are_those_of_the_covariance(images):
    rng = np.random.default_rng(0)
    common = rng.integers(0, 256, (images, 1, 1, 1))
    drawn = (0.5 * common + 0.5 * rng.integers(0, 256, (images, 4, 4, 3))).astype(np.uint8)
    covariance = np.cov(drawn.reshape(images, -1).astype(float) / 127.5 - 1, rowvar=False)
    expected = np.linalg.eigvalsh(covariance)[::-1]
    found = collapse.pixel_eigenvalues(drawn)
    rank = min(images - 1, 48)
    assert len(found) <= 48
    assert (np.diff(found) <= 0).all()
    np.testing.assert_allclose(found[:rank], expected[:rank], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(found[rank:], 0, atol=1e-5)


# During training


@pytest.fixture
def tokenizer() -> Tokenizer:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Tokenizer(experiment("kl_vae").tokenizer, 32)


@pytest.fixture(scope="module")
def validation() -> Validation:
    images = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
    return Validation(images, CPU)


def test_validation_of_a_tokenizer_that_says_nothing(tokenizer, validation):
    for layer in (tokenizer.to_mean, tokenizer.to_log_variance, tokenizer.to_pixels):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    found = validation(tokenizer)
    assert found["val/error"] == pytest.approx(validation.x.square().mean().item())
    assert (found["val/kl"], found["val/active_units"], found["val/shuffled_error"]) == (0, 0, 0)


def test_validation_hears_when_the_decoder_does_not_listen(tokenizer, validation):
    nn.init.normal_(tokenizer.to_mean.weight)
    nn.init.zeros_(tokenizer.from_latents.weight)
    found = validation(tokenizer)
    assert found["val/active_units"] == 1
    assert found["val/kl"] > 1
    assert found["val/shuffled_error"] == pytest.approx(0, abs=1e-6)
    nn.init.normal_(tokenizer.from_latents.weight)
    assert validation(tokenizer)["val/shuffled_error"] != pytest.approx(0, abs=1e-6)


def test_validation_changes_nothing(tokenizer, validation):
    before = torch.get_rng_state()
    assert validation(tokenizer) == validation(tokenizer)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(p.grad is None for p in tokenizer.parameters())


def test_validation_of_a_deterministic_tokenizer_has_no_kl(validation):
    found = validation(Tokenizer(experiment("autoencoder").tokenizer, 32))
    assert set(found) == {"val/error", "val/shuffled_error", "val/active_units"}


# Metrics


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_says_what_it_is(name):
    metric = plugins.load("harness.evaluation.metrics", name, "metric")
    for words in (metric.title, metric.about):
        assert words == words.strip() != ""
        assert "\n" not in words
    assert isinstance(metric.unit, str)
    assert metric.better in ("higher", "lower", "")
    for network in plugins.names("harness.networks.measures"):
        assert 0 <= digits_of(name, network) <= 6
    assert digits_of(name) == digits_of(name, "lite2")
    assert isinstance(metric.splits, tuple)
    assert metric.splits
    assert set(metric.splits) <= {*SPLITS, *SETS} - {"train"}
    assert callable(metric.measure)
    assert callable(metric.protocol)
    assert "FID" not in metric.title  # whose features are Inception's


def test_titles_tell_metrics_apart():
    titles = [plugins.load("harness.evaluation.metrics", name, "metric").title for name in METRICS]
    assert len(set(titles)) == len(titles) > 0


def test_metrics_are_listed_without_heavy_imports():
    imports = "\n".join(f"import harness.evaluation.metrics.{name}" for name in METRICS)
    code = f"import sys\n{imports}\nprint({{'torch', 'timm', 'sklearn', 'skimage', 'matplotlib'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


class ByHand(SimpleNamespace):
    """What metrics look at, made by hand."""

    kl = Reconstructed.kl


def measured(name: str, **seen: object) -> float:
    return plugins.load("harness.evaluation.metrics", name, "metric").measure(ByHand(**seen)).value


def test_kl_metrics_agree():
    posterior = Posterior(DRAWS.normal("mean", 50, 2, 3), DRAWS.normal("log-variance", 50, 2, 3))
    assert measured("kl", posterior=posterior) == pytest.approx(6 * measured("kl_per_dimension", posterior=posterior))
    prior = Posterior(torch.zeros(5, 2, 3), torch.zeros(5, 2, 3))
    assert measured("kl", posterior=prior) == measured("kl_per_dimension", posterior=prior) == 0


@pytest.mark.parametrize("name", ["kl", "kl_per_dimension"])
def test_a_deterministic_bottleneck_has_no_kl(name):
    metric = plugins.load("harness.evaluation.metrics", name, "metric")
    assert metric.measure(ByHand(posterior=Posterior(torch.zeros(5, 2, 3), None))) is None


def test_active_units_are_a_percentage():
    mean = torch.zeros(40, 2, 4)
    mean[::2, 0, :3] = 1
    assert measured("active_units", posterior=Posterior(mean, None)) == pytest.approx(37.5)


def test_shuffled_error_is_a_rise():
    errors, shuffled = torch.full((8,), 0.1), torch.full((8,), 0.4)
    assert measured("shuffled_error", errors=errors, shuffled_errors=shuffled) == pytest.approx(0.3)


def test_image_metrics_are_on_8_bits():
    originals = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (3, 3, 32, 32), dtype=np.uint8))
    off_by_one = torch.full((3,), (1 / 127.5) ** 2, dtype=torch.double)
    assert measured("psnr", errors=off_by_one) == pytest.approx(20 * math.log10(255))
    assert measured("psnr", errors=torch.zeros(3, dtype=torch.double)) < math.inf
    same = measured("ssim", pairs=lambda: [(originals, originals)])
    near = measured("ssim", pairs=lambda: [(originals, originals + 1)])
    grey = measured("ssim", pairs=lambda: [(originals, torch.full_like(originals, 127))])
    assert same == pytest.approx(1)
    assert 0.99 < near < 1
    assert grey < 0.1
