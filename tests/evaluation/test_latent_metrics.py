"""The spectrum, probes and dropped tokens of latents, the status of a model, and the figures."""

from __future__ import annotations

import math
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from harness.data.splits import Split
from harness.evaluation import collapse
from harness.evaluation import validation as validation_of_collapse
from harness.evaluation.metrics import knn, probe, probe_mean
from harness.evaluation.reconstructed import DROPPED_IMAGES, Reconstructed, squared_errors
from harness.evaluation.records import records
from harness.stages import diagnosis, snapshots
from harness.stages.evaluation import PAIRS, STEPS, pictures
from harness.system import plugins
from harness.system.machine import Machine
from harness.system.randomness import Draws
from models.posterior import Posterior
from models.tokenizer import Tokenizer
from reports.ablation import curves, embeddings
from tests.conftest import experiment
from tests.evaluation.tokenizer import made

CPU = Machine("cpu", "float32", 1)
DRAWS = Draws(0, "tests", 0)


# Spectrum


@pytest.mark.parametrize(
    ("eigenvalues", "rank", "isotropy"),
    [
        ([1.0] * 8, 8, 1),
        ([5.0, 5.0, 0, 0, 0, 0, 0, 0], 2, 0.25),
        ([0.1, 0, 0, 0, 0, 0, 0, 0], 1, 0.125),
        ([2.0, 1.0, 1.0, 0, 0, 0, 0, 0], 2**1.5, 16 / 6 / 8),  # entropy of (1/2, 1/4, 1/4): 1.5 bits
        ([4.0, 4.0], 2, 0.25),  # of two images more than dimensions the others are left out
    ],
)
def test_effective_rank_and_isotropy_of_spectra(eigenvalues, rank, isotropy):
    for scale in (1.0, 1e-4, 1e4):
        spectrum = scale * np.array(eigenvalues)
        assert collapse.effective_rank(spectrum) == pytest.approx(rank)
        assert collapse.isotropy(spectrum, 8) == pytest.approx(isotropy)


def of_covariance(covariance: np.ndarray, images: int) -> np.ndarray:
    """Points (n, D) whose unbiased covariance is exactly this."""
    drawn = np.random.default_rng(0).normal(size=(images, len(covariance)))
    white = np.linalg.qr(drawn - drawn.mean(0))[0] * np.sqrt(images - 1)
    return 5 + white @ np.linalg.cholesky(covariance).T


@pytest.mark.parametrize("eigenvalues", [[1.0] * 6, [3.0, 2.0, 1.0, 0.5, 0.1, 0.01]])
def test_the_spectrum_is_that_of_the_flattened_means(eigenvalues, data):
    basis, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))
    points = of_covariance(basis * eigenvalues @ basis.T, 100)
    m = measured_on(data, "kl_vae")
    m.__dict__["posterior"] = Posterior(torch.from_numpy(points).float().unflatten(1, (2, 3)), None)
    np.testing.assert_allclose(m.eigenvalues, eigenvalues, rtol=1e-4)
    shares = np.array(eigenvalues) / sum(eigenvalues)
    rank = plugins.load("harness.evaluation.metrics", "effective_rank", "metric").measure(m)
    isotropy = plugins.load("harness.evaluation.metrics", "isotropy", "metric").measure(m)
    assert rank.value == pytest.approx(math.exp(-(shares * np.log(shares)).sum()), rel=1e-4)
    assert isotropy.value == pytest.approx(1 / (6 * (shares**2).sum()), rel=1e-4)
    assert rank.n == isotropy.n == 100


def test_what_does_not_vary_has_no_directions(data):
    m = measured_on(data, "kl_vae")
    m.__dict__["posterior"] = Posterior(torch.full((50, 2, 3), 0.7), None)
    for name in ("effective_rank", "isotropy"):
        assert plugins.load("harness.evaluation.metrics", name, "metric").measure(m) is None


# Probes


def classified(train: Tensor, val: Tensor, labels: np.ndarray) -> dict[str, float]:
    """What the probes read off latents (n, L, Z) whose first classes are `labels`, in %."""
    n = len(labels)
    images = Split(np.zeros((n, 1)), labels, None)
    m = SimpleNamespace(train_latents=(train, labels), posterior=Posterior(val, None), images=images)
    return {metric.__name__.rpartition(".")[2]: metric.measure(m).value for metric in (probe, probe_mean, knn)}


LABELS = np.arange(200) % 4
CENTRES = 4 * torch.eye(4)[LABELS]  # (n, 4)


def noisy(means: Tensor, name: str) -> Tensor:
    return means + DRAWS.normal(name, *means.shape)


def test_probes_read_what_is_there():
    clear = CENTRES[:, None].expand(-1, 3, -1)
    assert set(classified(noisy(clear, "train"), noisy(clear, "val"), LABELS).values()) == {100.0}
    nothing = torch.zeros(200, 3, 4)
    assert max(classified(noisy(nothing, "train"), noisy(nothing, "val"), LABELS).values()) < 40


def test_the_mean_over_tokens_loses_what_tokens_say_against_one_another():
    against = torch.stack([CENTRES, -CENTRES], 1)
    found = classified(noisy(against, "train"), noisy(against, "val"), LABELS)
    assert found["probe"] == found["knn"] == 100
    assert found["probe_mean"] < 40


def test_the_mean_over_tokens_does_not_ask_where_they_stand():
    clear = noisy(torch.stack([CENTRES, torch.zeros(200, 4)], 1), "train")
    found = classified(clear, clear.flip(1), LABELS)
    assert found["probe_mean"] > 90
    assert found["probe"] < 60


def test_neighbours_are_found_where_no_line_divides():
    """One class in the middle of the other: on all sides of it, and so none that a line could tell."""
    angles, labels = torch.linspace(0, 2 * math.pi, 400), np.arange(400) // 50 % 2
    around = torch.stack([angles.cos(), angles.sin()], 1)[:, None] + 0.01 * DRAWS.normal("around", 400, 1, 2)
    found = classified(around, around, labels)
    assert found["knn"] > 90
    assert found["probe"] < 70


def test_few_images_have_fewer_neighbours():
    few = noisy(CENTRES[:8, None], "few")
    classified(few, few, LABELS[:8])


# On a tokenizer


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random images of a brightness of their class, as the stage `data` leaves them."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for split, count in {"train": 60, "val": 40}.items():
        labels = np.arange(count) % 4
        images = rng.integers(0, 100, (count, 32, 32, 3)) + 50 * labels[:, None, None, None]
        np.save(folder / f"{split}_images.npy", images.astype(np.uint8))
        np.save(folder / f"{split}_labels.npy", labels)
    np.save(folder / "pixel_eigenvalues.npy", collapse.pixel_eigenvalues(np.load(folder / "train_images.npy")))
    return folder


def measured_on(data: Path, variant: str, tokenizer: Tokenizer | None = None) -> Reconstructed:
    return Reconstructed(tokenizer or made(variant), experiment(variant), CPU, data, "val", 0)


def test_a_dropped_token_is_replaced_by_its_mean(data):
    m = measured_on(data, "kl_vae")
    z = m.posterior.mean.clone()
    z[:, 5] = z.mean(0)[5]
    rise = squared_errors(next(m.pairs())[0], m._decode(z)).mean() - m.errors.mean()
    assert m.dropped_errors.shape == (8,)
    assert m.dropped_errors[5].item() == pytest.approx(rise.item(), abs=1e-12)
    assert torch.equal(m.latents, m.posterior.mean)
    assert (m.dropped_errors.abs() > 1e-6).all()
    value = plugins.load("harness.evaluation.metrics", "dropped_token", "metric").measure(m)
    assert value.value == pytest.approx(m.dropped_errors.mean().item())
    assert value.n == min(40, DROPPED_IMAGES)


def test_a_token_that_never_varies_is_not_missed(data):
    m = measured_on(data, "kl_vae")
    mean = m.posterior.mean.clone()
    mean[:, 2] = 0.25
    m.__dict__["posterior"] = Posterior(mean, m.posterior.log_variance)
    assert m.dropped_errors[2] == 0
    assert (m.dropped_errors[3:].abs() > 1e-6).all()


def test_a_decoder_that_does_not_listen_misses_no_token(data):
    deaf = made("kl_vae")
    nn.init.zeros_(deaf.from_latents.weight)
    assert (measured_on(data, "kl_vae", deaf).dropped_errors == 0).all()


def test_pictures_are_of_the_same_latents_as_the_metrics(data):
    m = measured_on(data, "kl_vae")
    pictured, numbers = pictures(m), {r.metric: r.value for r in records(m, ["kl", "kl_per_token", "dropped_token"])}
    tokens, channels = m.posterior.mean.shape[1:]
    assert pictured["kl"].shape == (tokens, channels)
    assert pictured["kl"].sum() == pytest.approx(numbers["kl"], rel=1e-5)
    assert pictured["kl"].sum(1).mean() == pytest.approx(numbers["kl_per_token"], rel=1e-5)
    assert pictured["dropped_errors"].mean() == pytest.approx(numbers["dropped_token"], rel=1e-5)
    assert pictured["interpolations"].shape == (PAIRS, STEPS, 32, 32, 3)
    reconstructions = next(m.pairs())[1].permute(0, 2, 3, 1).numpy()
    for pair in range(PAIRS):
        ends = pictured["interpolations"][pair][[0, -1]]
        np.testing.assert_allclose(ends, reconstructions[2 * pair : 2 * pair + 2], atol=1)  # in another batch
    assert "kl" not in pictures(measured_on(data, "autoencoder"))


@pytest.mark.parametrize("variant", ["kl_vae", "autoencoder"])
def test_the_look_at_latents_alone_decodes_nothing(variant, data, monkeypatch):
    monkeypatch.delattr(Reconstructed, "_decode")
    found = {r.metric for r in records(measured_on(data, variant), diagnosis.METRICS)}
    of_gaussians = {m for m in diagnosis.METRICS if m.startswith("kl") or m == "linear_gaussian_kl"}
    of_gaussians |= {"mutual_information", "gaussian_rate"}
    assert found == set(diagnosis.METRICS) - (of_gaussians if variant == "autoencoder" else set())


def test_all_that_curves_show_is_measured_at_the_snapshots():
    shown = {metric for metric, _ in curves.CURVES if not metric.startswith("val/")}
    assert shown <= set(snapshots.METRICS) <= set(plugins.names("harness.evaluation.metrics"))


def test_protocols_say_how_many_and_of_what(data):
    m = measured_on(data, "kl_vae")
    found = {r.metric: r for r in records(m, diagnosis.METRICS)}
    assert f"log N = {math.log(40):.2f} nats" in found["mutual_information"].protocol
    for name in ("probe", "probe_mean", "knn"):
        assert "standardised" in found[name].protocol
        assert "the first 60 images of train" in found[name].protocol
        assert found[name].n == 40
    assert "averaged over the L tokens" in found["probe_mean"].protocol
    assert "20 nearest by cosine" in found["knn"].protocol
    assert found == {r.metric: r for r in records(measured_on(data, "kl_vae"), diagnosis.METRICS)}


# The status of models whose bottleneck is set by hand


def status_after(tokenizer: Tokenizer, data: Path, moments: list[tuple[float, int]]) -> tuple[str, list[float]]:
    """The status of a training whose means have this scale in the first so many channels, and its KL."""
    validation = validation_of_collapse.Validation(np.load(data / "val_images.npy"), CPU)
    weight = tokenizer.to_mean.weight.detach().clone()
    nn.init.zeros_(tokenizer.to_mean.bias)
    nn.init.zeros_(tokenizer.to_log_variance.weight)
    nn.init.zeros_(tokenizer.to_log_variance.bias)
    curves = []
    for scale, channels in moments:
        with torch.no_grad():
            tokenizer.to_mean.weight.zero_()[:channels] = scale * weight[:channels]
        curves.append(validation(tokenizer))
    kl, active = ([found[f"val/{name}"] for found in curves] for name in ("kl", "active_units"))
    return collapse.status(kl, active), kl


@pytest.mark.parametrize(
    ("moments", "status"),
    [
        ([(0.0, 4), (1e-3, 4), (2e-3, 4)], "never active"),
        ([(1.0, 4), (0.5, 4), (0.01, 4)], "never active"),  # what the initialisation had of KL, it lost
        ([(0.0, 4), (1.0, 4), (0.9, 4)], "active"),
        ([(0.0, 4), (1.0, 4), (0.01, 4), (0.9, 4)], "active"),  # back from a collapse
        ([(0.0, 4), (1.0, 4), (0.3, 4), (0.01, 4)], "collapsed"),
        ([(0.0, 4), (1.0, 4), (0.0, 4)], "collapsed"),
        ([(0.0, 4), (1.0, 4), (0.6, 4)], "partly"),  # KL goes with the square
        ([(0.0, 1), (0.3, 1), (1.0, 1)], "partly"),  # KL is at its highest, in one channel of four
    ],
)
def test_the_status_of_a_model_is_what_was_done_to_it(moments, status, data):
    found, kl = status_after(made("kl_vae"), data, moments)
    assert found == status, kl


def test_what_a_collapse_leaves_of_a_model(data):
    lower, upper, dropped = [], [], []
    for scale in (1.0, 0.3, 0.0):
        tokenizer = made("kl_vae")
        status_after(tokenizer, data, [(scale, 4)])
        found = {r.metric: r.value for r in records(measured_on(data, "kl_vae", tokenizer))}
        lower.append(found["mutual_information"])
        upper.append(found["gaussian_rate"])
        dropped.append(found["dropped_token"])
    assert all(np.diff(lower) < 0)
    assert all(np.diff(upper) < 0)
    assert (lower[-1], upper[-1], dropped[-1]) == pytest.approx((0, 0, 0), abs=1e-6)


# Figures


def clusters() -> np.ndarray:
    return noisy(10 * CENTRES, "clusters").double().numpy()


@pytest.mark.parametrize(
    "name", ["tsne", pytest.param("umap", marks=pytest.mark.skipif(not find_spec("umap"), reason="umap-learn"))]
)
def test_neighbours_stay_neighbours(name):
    x, place = clusters(), getattr(embeddings, name)
    placed, note = place(x)
    assert placed.shape == (200, 2)
    assert note == ""
    distances = np.linalg.norm(placed[:, None] - placed, axis=-1) + 1e9 * np.eye(200)
    assert (LABELS[distances.argmin(1)] == LABELS).all()
    np.testing.assert_array_equal(place(x)[0], placed)
    assert len(place(np.tile(x, (4, 1)))[0]) == embeddings.EMBEDDED_IMAGES
    placed, note = place(np.full((30, 4), 0.5))
    assert np.isfinite(placed).all()
    assert note == " (nothing varies)"
