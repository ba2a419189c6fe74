"""The spectrum, probes and dropped tokens of latents, the status of a model, and the figures."""

from __future__ import annotations

import math
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from harness.data.tensors import to_tensor
from harness.evaluation import collapse, fidelity
from harness.evaluation import validation as validation_of_collapse
from harness.evaluation.components import fitted
from harness.evaluation.decoded_latents import DecodedLatents
from harness.evaluation.metrics import knn, probe, probe_mean
from harness.evaluation.reconstructed import DROPPED_IMAGES, Probed, Reconstructed, squared_errors
from harness.evaluation.records import records
from harness.latents import autoencode
from harness.networks.frozen import Outputs
from harness.stages import diagnosis, snapshots
from harness.stages.evaluation import PAIRS, STEPS, pictures
from harness.system import plugins
from harness.system.machine import Machine
from harness.system.randomness import Draws
from models.autoencoders.posterior import Posterior
from models.autoencoders.vit_1d import ViT1D
from reports.ablation import curves, embeddings
from tests.conftest import experiment
from tests.evaluation.tokenizer import deafen_decoder, made, teach_decoder

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


PROBES = {"probe": probe, "probe_mean": probe_mean, "knn": knn}


def classified(train: Tensor, val: Tensor, labels: np.ndarray) -> dict[str, float]:
    """What the probes read off latents (n, L, Z) whose classes are `labels`, in %."""
    m = SimpleNamespace(probed=Probed(train, labels, val, labels))
    return {name: metric.measure(m).value for name, metric in PROBES.items()}


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


SIZES = {"train": 2000, "val": 1600}
SHARES = {"balanced": (0.25, 0.25, 0.25, 0.25), "one class of many images": (0.1, 0.1, 0.1, 0.7)}
CHANCE = 4.0  # points around what no information gives: over three standard errors of 1,600 images


class ByClass(nn.Module):
    """Tokens whose mean in one channel says the class, in a posterior of width sigma: the brightness is the class."""

    def __init__(self, signal: float, sigma: float, scales: tuple[float, ...] = (1, 1, 1, 1)):
        super().__init__()
        self.signal, self.log_variance, self.scales = signal, 2 * math.log(sigma), torch.tensor(scales)

    def encode(self, x: Tensor) -> Posterior:
        labels = ((x.mean((1, 2, 3)) + 1) * 127.5 / 60).round().long()
        mean = self.signal * torch.eye(4)[labels][:, None].expand(-1, 3, -1)
        log_variance = self.log_variance + 2 * self.scales.log()
        return Posterior(mean * self.scales, log_variance.expand_as(mean).contiguous())


@pytest.fixture(scope="module", params=SHARES)
def bright(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """Images of one pixel value for each class, and the share in % of the largest class."""
    folder, rng = tmp_path_factory.mktemp("bright"), np.random.default_rng(0)
    for split, count in SIZES.items():
        labels = rng.choice(4, count, p=SHARES[request.param])
        np.save(folder / f"{split}_labels.npy", labels)
        np.save(
            folder / f"{split}_images.npy", np.tile(60 * labels[:, None, None, None], (1, 2, 2, 3)).astype(np.uint8)
        )
    return folder, 100 * np.bincount(labels).max() / count


def read(folder: Path, tokenizer: nn.Module) -> tuple[Reconstructed, dict[str, float]]:
    m = Reconstructed(tokenizer, experiment("kl_vae", evaluation__probe_images=SIZES["train"]), CPU, folder, "val", 0)
    return m, {name: metric.measure(m).value for name, metric in PROBES.items()}


def test_probes_read_nothing_off_a_posterior_that_is_the_prior(bright):
    """Its means separate the classes perfectly, by a thousandth of what the posterior adds: no generator gets that."""
    folder, most = bright
    m, found = read(folder, ByClass(1e-3, 1.0))
    assert probe.measure(SimpleNamespace(probed=means_of(m))).value == 100
    assert m.posterior.kl().sum((1, 2)).max() < 1e-5
    assert found == {name: pytest.approx(most, abs=CHANCE) for name in PROBES}


def means_of(m: Reconstructed) -> Probed:
    """What is probed if it is not the samples but the means, each unit scaled by itself."""
    means, images = m.posterior.mean, m.images
    scaled = (means - means.mean(0)) / means.std(0)
    return Probed(scaled, images.labels, scaled, images.labels)


def test_probes_read_off_samples_what_is_in_them(bright):
    assert set(read(bright[0], ByClass(8.0, 1.0))[1].values()) == {100.0}


def test_probes_read_no_more_than_the_samples_hold(bright):
    """Three tokens of one channel each, 1 or 0 beside a sigma of 1: what the best rule could tell, and not more."""
    folder, most = bright
    m, found = read(folder, ByClass(1.0, 1.0))
    labels, priors = m.images.labels, np.bincount(m.probed.train_labels) / SIZES["train"]
    z = m.posterior.sample(m.noise).sum(1)  # the likelihood of a class is that of its channel, summed over tokens
    best = 100 * ((z + torch.from_numpy(priors).log()).argmax(1).numpy() == labels).mean()
    assert most + 5 < best < 95
    for name, value in found.items():
        assert most - CHANCE < value < best + CHANCE, name
    assert found["probe"] == pytest.approx(best, abs=CHANCE)
    assert found["probe_mean"] == pytest.approx(best, abs=CHANCE)


def test_probed_latents_are_the_samples_as_a_generator_gets_them(bright):
    """Scaled by channel: by nothing of one unit, and by nothing of the images that are read."""
    m, _ = read(bright[0], ByClass(2.0, 0.5, (1.0, 100.0, 0.01, 3.0)))
    train, labels, z, val_labels = m.probed
    assert train.mean((0, 1)).tolist() == pytest.approx([0] * 4, abs=0.05)
    assert train.std((0, 1)).tolist() == pytest.approx([1] * 4, abs=0.05)
    share = torch.from_numpy(np.bincount(labels, minlength=4) / len(labels))
    std = (0.25 + 4 * share * (1 - share)).sqrt()  # in closed form, over the training images
    samples = m.posterior.sample(m.noise) / m.tokenizer.scales
    torch.testing.assert_close(z, ((samples - 2 * share) / std).float(), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(val_labels, m.images.labels)
    assert (len(train), len(labels), len(z)) == (SIZES["train"], SIZES["train"], SIZES["val"])


def test_the_scale_of_a_channel_changes_no_reading(bright):
    scaled = read(bright[0], ByClass(1.0, 1.0, (1.0, 1000.0, 1e-3, 30.0)))[1]
    assert scaled == pytest.approx(read(bright[0], ByClass(1.0, 1.0))[1], abs=0.2)


def test_probes_draw_the_same_twice_and_never_the_same_for_two_images(bright):
    one, other = (read(bright[0], ByClass(0.0, 1.0))[0].probed for _ in range(2))
    assert torch.equal(one.train, other.train) and torch.equal(one.latents, other.latents)
    drawn = torch.cat([one.train, one.latents])[:, 0, 0]
    assert len(drawn.unique()) > 0.99 * len(drawn)  # but for a few in float32


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
    return folder


def measured_on(data: Path, variant: str, tokenizer: ViT1D | None = None) -> Reconstructed:
    components = fitted(np.load(data / "train_images.npy"), CPU)
    return Reconstructed(tokenizer or made(variant), experiment(variant), CPU, data, "val", 0, components)


@pytest.fixture
def left_and_seen(monkeypatch: pytest.MonkeyPatch) -> tuple[list[Tensor], list[Tensor]]:
    """The images that decoders leave on the device, and those that networks look at."""
    left, seen = list[Tensor](), list[Tensor]()
    decode, outputs = autoencode.decode_there, fidelity.outputs

    def decoded(*words: Any) -> Tensor:
        left.append(decode(*words))
        return left[-1]

    def looked_at(x: Tensor, network: Any) -> Outputs:
        seen.append(x)
        return outputs(x, network)

    monkeypatch.setattr(autoencode, "decode_there", decoded)
    monkeypatch.setattr(fidelity, "outputs", looked_at)
    return left, seen


def test_reconstructions_do_not_leave_the_device_before_their_features_are_taken(data, left_and_seen):
    left, seen = left_and_seen
    _ = measured_on(data, "kl_vae").features
    assert any(x is left[0] for x in seen)


def test_generated_images_do_not_leave_the_device_before_their_features_are_taken(left_and_seen):
    left, seen = left_and_seen
    judge = object.__new__(DecodedLatents)
    judge.experiment, judge.machine, judge.tokenizer = experiment("kl_vae"), CPU, made("kl_vae")
    judge.work, judge.reference = SimpleNamespace(map=map), None
    judge.network = fidelity.network(judge.experiment.evaluation, CPU)
    judge.generated(torch.zeros(3, *judge.experiment.latents[:2]), "samples", "by hand", 0)
    assert [x is y for x, y in zip(left, seen, strict=True)] == [True]


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
    shown = {metric for metric in curves.CURVES if not metric.startswith("val/")}
    assert shown <= set(snapshots.METRICS) <= set(plugins.names("harness.evaluation.metrics"))


def test_protocols_say_how_many_and_of_what(data):
    m = measured_on(data, "kl_vae")
    found = {r.metric: r for r in records(m, diagnosis.METRICS)}
    assert f"log N = {math.log(40):.2f} nats" in found["mutual_information"].protocol
    for name in ("probe", "probe_mean", "knn"):
        assert "on samples of the posterior, normalised in every channel as a generator's are" in found[name].protocol
        assert "the first 60 images of train" in found[name].protocol
        assert "standardised" not in found[name].protocol
        assert found[name].n == 40
    assert "averaged over the L tokens" in found["probe_mean"].protocol
    assert "20 nearest by cosine" in found["knn"].protocol
    assert (found["linear_gaussian_kl"].n, found["active_units"].n) == (60, 40)
    assert "pixel covariance of N training images" in found["linear_gaussian_kl"].protocol
    assert found == {r.metric: r for r in records(measured_on(data, "kl_vae"), diagnosis.METRICS)}


# The status of models whose bottleneck and decoder are set by hand


class Moment(NamedTuple):
    """The scale of the means, how many of the four channels have one, and the share that the decoder uses of them."""

    scale: float
    channels: int = 4
    hearing: float = 1.0


NOTHING, EVERYTHING = Moment(0.0), Moment(1.0)


def set_by_hand(tokenizer: ViT1D, weight: Tensor, moment: Moment, x: Tensor) -> None:
    """Sets means with sigma = 1, and the best last layer of a decoder of images x for them."""
    for parameter in (tokenizer.to_mean.bias, *tokenizer.to_log_variance.parameters()):
        nn.init.zeros_(parameter)
    with torch.no_grad():
        tokenizer.to_mean.weight.zero_()[: moment.channels] = moment.scale * weight[: moment.channels]
    teach_decoder(tokenizer, x)
    deafen_decoder(tokenizer, moment.hearing)


def curves_of(tokenizer: ViT1D, data: Path, moments: list[Moment]) -> tuple[list[float], list[float]]:
    """KL and shuffled-latent error in the validation of a training that comes to these moments."""
    validation = validation_of_collapse.Validation(np.load(data / "val_images.npy"), CPU)
    weight, found = tokenizer.to_mean.weight.detach().clone(), []
    for moment in moments:
        set_by_hand(tokenizer, weight, moment, validation.x)
        found.append(validation(tokenizer))
    return [f["val/kl"] for f in found], [f["val/shuffled_error"] for f in found]


@pytest.mark.parametrize(
    ("moments", "status"),
    [
        ([NOTHING, Moment(1e-3), Moment(2e-3)], "never active"),  # the decoder makes much of it, but it is nothing
        ([Moment(1.0, hearing=0), Moment(0.5, hearing=0), EVERYTHING._replace(hearing=0)], "never active"),
        ([Moment(1.0, hearing=0), Moment(0.01), NOTHING], "never active"),  # what an initialisation had of KL, it lost
        ([EVERYTHING, Moment(0.5), Moment(0.01)], "collapsed"),  # the same KL, but the decoder used it
        ([NOTHING, EVERYTHING], "active"),
        ([NOTHING, EVERYTHING, Moment(0.9)], "active"),
        ([NOTHING, EVERYTHING, Moment(0.01), Moment(0.9)], "active"),  # back from a collapse
        ([NOTHING, EVERYTHING, Moment(0.6)], "partly"),  # KL goes with the square
        ([NOTHING, EVERYTHING, Moment(0.2)], "collapsed"),
        ([NOTHING, EVERYTHING, NOTHING], "collapsed"),
        ([NOTHING, Moment(0.3, 1), Moment(1.0, 1)], "active"),  # one channel of four, and nothing was lost
        ([NOTHING, EVERYTHING, Moment(1.0, hearing=0.6)], "active"),
        ([NOTHING, EVERYTHING, Moment(1.0, hearing=0.4)], "partly"),  # KL stays, and the decoder uses less of it
        ([NOTHING, EVERYTHING, Moment(1.0, hearing=0.05)], "collapsed"),
        ([NOTHING, EVERYTHING, Moment(1.0, hearing=0)], "collapsed"),
    ],
)
def test_the_status_of_a_model_is_what_was_done_to_it(moments, status, data):
    kl, shuffled = curves_of(made("kl_vae"), data, moments)
    assert collapse.status(kl, shuffled) == status, (kl, shuffled)


def test_an_untrained_model_was_never_active(data):
    """Its posteriors differ from the prior and from image to image, and its decoder has never heard of it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        untrained = ViT1D(experiment("kl_vae").tokenizer, 32).eval()
    found = validation_of_collapse.Validation(np.load(data / "val_images.npy"), CPU)(untrained)
    assert found["val/kl"] > 5
    assert collapse.status([found["val/kl"]], [found["val/shuffled_error"]]) == "never active"
    teach_decoder(untrained, to_tensor(np.load(data / "val_images.npy")))
    found = validation_of_collapse.Validation(np.load(data / "val_images.npy"), CPU)(untrained)
    assert collapse.status([found["val/kl"]], [found["val/shuffled_error"]]) == "active"  # once it has


def test_a_model_far_below_the_linear_gaussian_kl_is_partly_active(data):
    kl, shuffled = curves_of(made("kl_vae"), data, [NOTHING, EVERYTHING])
    for optimum, status in ((0.1, "active"), (1.99, "active"), (2.01, "partly"), (100, "partly")):
        assert collapse.status(kl, shuffled, optimum * kl[-1]) == status, optimum
    kl, shuffled = curves_of(made("kl_vae"), data, [NOTHING, EVERYTHING, NOTHING])
    assert collapse.status(kl, shuffled, 0.0) == "collapsed"


def test_a_decoder_that_hears_half_loses_half_by_other_latents(data):
    """What the cases above rest on."""
    whole, half, none = (curves_of(made("kl_vae"), data, [Moment(1.0, hearing=h)])[1][0] for h in (1, 0.5, 0))
    assert whole > 0.2
    assert half == pytest.approx(whole / 2, rel=1e-3)
    assert none == 0


def test_what_a_collapse_leaves_of_a_model(data):
    lower, upper, dropped, shuffled, active = [], [], [], [], []
    for scale in (1.0, 0.3, 0.0):
        tokenizer = made("kl_vae")
        curves_of(tokenizer, data, [Moment(scale)])
        found = {r.metric: r.value for r in records(measured_on(data, "kl_vae", tokenizer))}
        lower.append(found["mutual_information"])
        upper.append(found["gaussian_rate"])
        dropped.append(found["dropped_token"])
        shuffled.append(found["shuffled_error"])
        active.append(found["active_units"])
    assert all(np.diff(lower) < 0)
    assert all(np.diff(upper) < 0)
    assert (lower[-1], upper[-1], dropped[-1], shuffled[-1]) == pytest.approx((0, 0, 0, 0), abs=1e-6)
    assert min(shuffled[:2]) > 0.2
    assert active == [100, 100, 0]


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
    assert note == f"sd {embeddings.principal(x[:200])[0][:, 0].std():.2g}"
    distances = np.linalg.norm(placed[:, None] - placed, axis=-1) + 1e9 * np.eye(200)
    assert (LABELS[distances.argmin(1)] == LABELS).all()
    np.testing.assert_array_equal(place(x)[0], placed)
    assert len(place(np.tile(x, (4, 1)))[0]) == embeddings.EMBEDDED_IMAGES
    placed, note = place(np.full((30, 4), 0.5))
    assert np.isfinite(placed).all()
    assert note == "nothing varies"
