from __future__ import annotations

import math
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor, nn

from harness.data.splits import SPLITS
from harness.evaluation import collapse
from harness.evaluation.components import Components
from harness.evaluation.reconstructed import Reconstructed
from harness.evaluation.records import bounds_of, digits_of
from harness.evaluation.validation import Validation
from harness.experiments.plugin_metrics import SETS
from harness.system import plugins
from harness.system.machine import Machine
from harness.system.randomness import Draws
from models.autoencoders.posterior import Posterior
from models.autoencoders.vit_1d import ViT1D
from tests.conftest import experiment

METRICS = plugins.names("harness.evaluation.metrics")
CPU = Machine("cpu", "float32", 1)
DRAWS = Draws(0, "tests", 0)

# Status

HEARD = 0.5  # a rise of the squared error by another image's latents, while the decoder uses them


@pytest.mark.parametrize(
    ("kl", "shuffled", "status"),
    [
        ([0.0, 0.2, 0.5, 0.9], [HEARD] * 4, "never active"),  # however much a decoder makes of it
        ([0.0], [0.0], "never active"),
        ([0.0, 1.0], [0.0, HEARD], "active"),  # border of the KL that is information
        ([0.0, 0.999], [0.0, HEARD], "never active"),
        ([30.0, 12.0, 0.1], [0.0, 0.0, 0.0], "never active"),  # what an initialisation has of KL says nothing
        ([30.0, 30.0, 30.0], [0.0, 0.0099, -0.02], "never active"),  # KL that no decoder uses
        ([0.0, 30.0], [0.0, 0.01], "active"),  # border of the use
        ([30.0, 0.9], [0.0, 0.2], "never active"),  # KL without use, then use without KL
        ([0.0, 5.0, 20.0, 25.0], [0.0, 0.1, 0.4, 0.5], "active"),
        ([0.0, 20.0, 0.5, 15.0], [0.0, 0.5, 0.0, 0.4], "active"),  # back from a collapse
        ([90.0, 20.0, 18.0], [0.0, 0.5, 0.5], "active"),  # the KL of before the decoder used it was no information
        ([90.0, 20.0, 18.0], [0.01, 0.5, 0.5], "active"),  # and here it hardly was any
        ([90.0, 20.0, 18.0], [0.25, 0.5, 0.5], "partly"),  # but here it was
        ([0.0, 20.0, 1.9], [0.0, HEARD, HEARD], "collapsed"),
        ([0.0, 20.0, 2.0], [0.0, HEARD, HEARD], "partly"),  # border: a tenth of KL
        ([0.0, 20.0, 9.9], [0.0, HEARD, HEARD], "partly"),
        ([0.0, 20.0, 10.0], [0.0, HEARD, HEARD], "active"),  # border: half of KL
        ([0.0, 5.0, 0.99], [0.0, HEARD, HEARD], "collapsed"),  # a fifth of KL, but less than a nat
        ([0.0, 5.0, 1.0], [0.0, HEARD, HEARD], "partly"),  # border: a nat
        ([0.0, 20.0, 20.0], [0.0, 0.5, 0.0], "collapsed"),  # KL is left, and the decoder uses none of it
        ([0.0, 20.0, 20.0], [0.0, 0.5, -0.3], "collapsed"),
        ([0.0, 20.0, 20.0], [0.0, 0.5, 0.049], "collapsed"),
        ([0.0, 20.0, 20.0], [0.0, 0.5, 0.05], "partly"),  # border: a tenth of the rise
        ([0.0, 20.0, 20.0], [0.0, 0.5, 0.249], "partly"),
        ([0.0, 20.0, 20.0], [0.0, 0.5, 0.25], "active"),  # border: half of the rise
        ([0.0, 20.0, 8.0], [0.0, 0.5, 0.04], "collapsed"),  # both shares count
    ],
)
def test_status(kl, shuffled, status):
    assert collapse.status(kl, shuffled) == status


@pytest.mark.parametrize(
    ("kl", "optimum", "status"),
    [
        ([0.0, 20.0, 20.0], None, "active"),
        ([0.0, 20.0, 20.0], 0.0, "active"),
        ([0.0, 20.0, 20.0], 40.0, "active"),  # border: half of the linear-Gaussian KL
        ([0.0, 20.0, 20.0], 40.1, "partly"),
        ([0.0, 20.0, 20.0], math.inf, "partly"),  # of a weight of zero
        ([0.0, 20.0, 1.0], 1.0, "collapsed"),  # a low optimum excuses no loss
        ([0.0, 20.0, 5.0], 1.0, "partly"),
        ([0.0, 0.5, 0.5], 100.0, "never active"),
    ],
)
def test_the_linear_gaussian_kl_is_a_yardstick(kl, optimum, status):
    assert collapse.status(kl, [0.0, HEARD, HEARD], optimum) == status


def test_status_does_not_depend_on_how_finely_a_curve_is_sampled():
    rise, heard = np.linspace(0, 20, 41), np.linspace(0, HEARD, 41)
    curves = {
        "active": (rise, heard),
        "collapsed": (np.append(rise, np.linspace(20, 0.5, 40)), np.append(heard, np.full(40, HEARD))),
        "partly": (np.append(rise, np.full(40, 20)), np.append(heard, np.linspace(HEARD, 0.2, 40))),
        "never active": (rise[::-1], heard / 51),
    }
    for status, both in curves.items():
        for kl, shuffled in (both, [np.repeat(curve, 3) for curve in both], [curve[::10] for curve in both]):
            ended = [[*curve.tolist(), float(whole[-1])] for curve, whole in zip((kl, shuffled), both, strict=True)]
            assert collapse.status(*ended) == status


def test_the_rules_name_every_status():
    for status in ("never active", "collapsed", "partly", "active"):
        assert f"`{status}`" in collapse.RULES


@pytest.mark.parametrize(
    ("kl", "shuffled", "kept", "lost_at"),
    [
        ([0.0, 5.0, 20.0], [0.0, 0.1, 0.5], [0, 0.05, 1], None),  # it holds more and more
        ([0.0, 20.0, 10.0], [0.0, 0.5, 0.5], [0, 1, 0.5], None),  # border: half is not lost
        ([0.0, 20.0, 9.0], [0.0, 0.5, 0.5], [0, 1, 0.45], 30),
        ([0.0, 20.0, 20.0, 20.0], [0.0, 0.5, 0.1, -0.1], [0, 1, 0.2, 0], 30),  # of the error too
        ([0.0, 20.0, 2.0, 14.0], [0.0, 0.5, 0.0, 0.4], [0, 1, 0, 0.56], None),  # not for good
        ([0.0, 20.0, 2.0, 14.0, 4.0], [0.0, 0.5, 0.0, 0.4, 0.4], [0, 1, 0, 0.56, 0.16], 50),
        ([50.0, 20.0, 5.0], [0.0, 0.5, 0.5], [0, 1, 0.25], 30),
        ([40.0, 20.0, 20.0], [0.009, 0.5, 0.5], [0.036, 1, 1], None),
        ([30.0, 30.0, 0.5], [0.0, 0.009, 0.5], [0, 0, 0], 10),  # never anything: from the first step
    ],
)
def test_what_is_kept_and_when_it_is_lost(kl, shuffled, kept, lost_at):
    assert collapse.kept(kl, shuffled) == pytest.approx(kept)
    assert collapse.lost_at([10 * (k + 1) for k in range(len(kl))], kl, shuffled) == lost_at


def test_status_shares_and_the_step_of_loss_agree():
    rng, seen = np.random.default_rng(0), set()
    for _ in range(500):
        kl, shuffled = (rng.exponential(scale) * rng.random(4) ** 2 for scale in (6.0, 0.1))
        curves = kl.tolist(), shuffled.tolist()
        kept, status = collapse.kept(*curves), collapse.status(*curves)
        assert (collapse.lost_at([1, 2, 3, 4], *curves) is None) == (kept[-1] >= collapse.PARTLY_SHARE)
        assert (status == "never active") == (max(kept) == 0)
        if status in ("partly", "active"):
            assert kept[-1] >= (collapse.PARTLY_SHARE if status == "active" else collapse.COLLAPSED_SHARE)
        seen.add(status)
    assert seen == {"never active", "collapsed", "partly", "active"}


# Active units


def with_moments(variances: Tensor, nats: Tensor) -> Posterior:
    """Posteriors (100, L, Z) whose means have these variances over images, and units so many nats (L, Z) on average.

    The nats beyond those of the means come from a sigma below 1.
    """
    means = (variances * 99 / 100).sqrt() * torch.tensor([1.0, -1.0] * 50)[:, None, None]  # of the unbiased variance
    rest = (2 * nats - variances * 99 / 100).double()
    low, high = torch.full_like(rest, 1e-9), torch.ones_like(rest)
    for _ in range(80):  # bisection: s² - 1 - log s² falls to 0 at s² = 1
        middle = (low + high) / 2
        above = middle - 1 - middle.log() > rest
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    return Posterior(means, low.log().float().expand_as(means).contiguous())


def test_active_units_have_a_mean_that_varies_and_a_kl():
    variances = torch.tensor([[0.0099, 0.0101, 0.0101, 0.0101, 0.0, 1.0]])
    nats = torch.tensor([[3.0, 0.0099, 0.0101, 3.0, 3.0, 3.0]])
    posterior = with_moments(variances, nats)
    torch.testing.assert_close(posterior.kl().mean(0), nats, rtol=1e-4, atol=0)
    assert collapse.active_units(posterior).tolist() == [[False, False, True, True, False, True]]


def test_active_units_of_a_posterior_that_is_the_prior_are_none():
    """Means that vary by a tenth beside sigma = 1 have 0.005 nats: variance alone would count them."""
    means = torch.tensor([0.11, -0.11] * 50)[:, None, None].expand(-1, 2, 3)
    assert means.var(0).min() > collapse.ACTIVE_VARIANCE
    assert not collapse.active_units(Posterior(means, torch.zeros(100, 2, 3))).any()


@pytest.mark.parametrize(("nats", "active"), [(0.4, False), (0.6, True)])
def test_the_kl_of_a_unit_is_a_mean_over_images(nats, active):
    """One image in fifty has so many nats: more than 0.01 of its own, and less or more on average."""
    means = torch.zeros(50, 1, 1)
    means[0] = (2 * nats) ** 0.5
    assert means.var(0).item() > collapse.ACTIVE_VARIANCE
    assert collapse.active_units(Posterior(means, torch.zeros(50, 1, 1))).item() == active


def test_active_units_of_a_deterministic_bottleneck_vary():
    variances = torch.tensor([[0.0, 0.0099, 0.0101], [1e-4, 0.5, 4.0]])
    mean = 7 + (variances * 99 / 100).sqrt() * torch.tensor([1.0, -1.0] * 50)[:, None, None]
    assert collapse.active_units(Posterior(mean, None)).tolist() == [[False, False, True], [False, True, True]]
    assert collapse.active_units(Posterior(mean.bfloat16(), None)).shape == (2, 3)


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
    found = collapse.linear_gaussian_kl(np.linalg.eigvalsh(covariance), kl_weight * 4 / 2, dimensions)
    assert found > 0.05
    assert found == pytest.approx(optimal_kl(covariance, kl_weight, dimensions), rel=2e-3)


def test_linear_gaussian_kl_at_its_limits():
    eigenvalues = np.array([0.5, 4.0, 1.0, 2.0])
    assert collapse.linear_gaussian_kl(eigenvalues, 0.0, 4) == math.inf
    assert collapse.linear_gaussian_kl(eigenvalues, 1e6, 4) == 0
    assert collapse.linear_gaussian_kl(eigenvalues, 1.0, 4) == pytest.approx(math.log(4 * 2) / 2)
    assert collapse.linear_gaussian_kl(eigenvalues, 1.0, 1) == pytest.approx(math.log(4) / 2)
    assert collapse.linear_gaussian_kl(eigenvalues, 4.0, 4) == 0  # the level is the largest eigenvalue


def test_linear_gaussian_kl_falls_with_the_level_and_rises_with_the_dimensions():
    eigenvalues = np.random.default_rng(0).exponential(size=30)
    by_level = [collapse.linear_gaussian_kl(eigenvalues, 10.0**k, 30) for k in range(-5, 2)]
    by_dimensions = [collapse.linear_gaussian_kl(eigenvalues, 1e-4, d) for d in range(1, 60)]
    assert by_level == sorted(by_level, reverse=True)
    assert by_dimensions == sorted(by_dimensions)
    assert by_dimensions[28] < by_dimensions[29] == by_dimensions[58]


@pytest.mark.parametrize(("kl_weight", "side", "level"), [(1e-3, 32, 1.536), (1e-6, 256, 0.098304), (0.0, 32, 0)])
def test_the_water_level_is_half_the_weight_times_the_pixels(kl_weight, side, level):
    """The squared error is a mean over 3HW pixels, and KL a sum: so the weight counts 3HW times."""
    asked = experiment("kl_vae", tokenizer__gaussian__kl_weight=kl_weight, data__image_size=side)
    assert collapse.water_level(asked) == pytest.approx(level)


def test_the_reference_is_of_all_components_as_far_as_the_latents_reach():
    metric = plugins.load("harness.evaluation.metrics", "linear_gaussian_kl", "metric")
    eigenvalues = torch.tensor([400.0, 100.0, *[9.0] * 60, 1.0])  # at smoke the level is 1.536
    known = Components(torch.zeros(3072), torch.zeros(1, 3072), eigenvalues, 1234)
    asked = experiment("kl_vae")
    found = metric.measure(ByHand(experiment=asked, components=known))
    latents = asked.tokenizer.tokens * asked.tokenizer.channels
    expected = (math.log(400 * 100) + (latents - 2) * math.log(9) - latents * math.log(1.536)) / 2
    assert (found.value, found.n) == (pytest.approx(expected), 1234)
    assert metric.measure(ByHand(experiment=asked, components=None)) is None
    assert metric.measure(ByHand(experiment=experiment("autoencoder"), components=known)) is None


# During training


@pytest.fixture
def tokenizer() -> ViT1D:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ViT1D(experiment("kl_vae").tokenizer, 32)


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
    nn.init.normal_(tokenizer.to_mean.weight, generator=torch.Generator().manual_seed(0))
    nn.init.zeros_(tokenizer.from_latents.weight)
    found = validation(tokenizer)
    assert found["val/active_units"] > 0.9
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
    found = validation(ViT1D(experiment("autoencoder").tokenizer, 32))
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
    low, high = bounds_of(name)
    assert low < high
    assert metric.unit != "%" or (low, high) == (0, 100)
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
    spread = torch.zeros(40, 2, 4)
    spread[:, 1] = -9  # a KL of units that say nothing
    assert measured("active_units", posterior=Posterior(mean, spread)) == pytest.approx(37.5)
    mean[::2, 0, 2] = 0.205  # varies by a hundredth, which sigma = 1 hides: 0.0105 nats, and then 0.0095
    assert measured("active_units", posterior=Posterior(mean, spread)) == pytest.approx(37.5)
    mean[::2, 0, 2] = 0.195
    assert measured("active_units", posterior=Posterior(mean, spread)) == pytest.approx(25)


def test_the_protocol_of_active_units_says_by_what_they_count():
    protocol = plugins.load("harness.evaluation.metrics", "active_units", "metric").protocol
    means = torch.zeros(5, 2, 3)
    deterministic, gaussian = (protocol(ByHand(posterior=Posterior(means, s))) for s in (None, means))
    assert "variance over images of the posterior mean above 0.01" in deterministic
    assert "KL" not in deterministic
    assert gaussian == f"{deterministic}, and KL above 0.01 nats, mean over images"


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
