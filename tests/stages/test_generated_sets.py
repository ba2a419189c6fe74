"""The sets that generated images stand beside: fresh images, reconstructions, the prior; and moments of a training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from harness.data.sets import embedded
from harness.data.splits import open_split
from harness.data.tensors import channels_first
from harness.evaluation import fidelity
from harness.evaluation.frechet import of_features
from harness.experiments.experiment import Experiment
from harness.latents import autoencode
from harness.latents.sample_plan import SAMPLES
from harness.latents.sampling import Noise
from harness.latents.statistics import LatentStatistics, load_statistics
from harness.networks import weights
from harness.networks.weights import MOMENTS, MOMENTS_OF_GENERATOR, snapshot_file, snapshot_steps
from harness.planning.stage import decoder
from harness.planning.task import task
from harness.store.records import Record
from harness.store.runs import Run, Store
from harness.system.randomness import Draws
from tests.conftest import experiment
from tests.stages.few_images import CPU, FEW, run

GENERATED, TRAIN, VAL = 40, 24, 16  # more generated images than there are training images
LATENTS = {"kl_vae": "a sample of the posterior", "autoencoder": "no posterior to sample"}
STEPS = 30


def asked(variant: str) -> Experiment:
    fields = {
        "sampling__images": GENERATED,
        "generator__training__steps": STEPS,
        "training__steps": 7,
        "guidance__on": True,
    }
    return experiment(variant, **FEW | fields)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    found = Store(tmp_path_factory.mktemp("sets"))
    for variant in LATENTS:
        assert set(run(found, asked(variant), "generation", "generator_snapshots").values()) == {"done"}
    return found


def run_of(store: Store, stage: str, variant: str = "kl_vae") -> Run:
    return task(stage, asked(variant)).run_in(store)


def records_of(store: Store, stage: str, variant: str = "kl_vae") -> dict[tuple[str, str], Record]:
    return {(r.metric, r.split): r for r in run_of(store, stage, variant).records()}


def features(images: Tensor) -> Tensor:
    """Features of uint8 images (n, 3, H, W)."""
    return fidelity.outputs(images, fidelity.network(asked("kl_vae").evaluation, CPU)).features


def training_images(store: Store) -> np.ndarray:
    return np.array(open_split(run_of(store, "data").folder, "train").images)


# Of the reference


def test_fresh_images_are_measured_as_generated_ones(store):
    data, found = asked("kl_vae").data, records_of(store, "reference")
    fresh, train = features(channels_first(embedded.fresh(data, VAL))), features(channels_first(training_images(store)))
    assert found["gfd", "fresh"].value == pytest.approx(of_features(fresh, train), rel=1e-4)
    expected = fidelity.precision_recall(fresh, train)
    assert (found["precision", "fresh"].value, found["recall", "fresh"].value) == pytest.approx(expected)
    for (metric, split), record in found.items():
        if split == "fresh":
            assert record.n == VAL
            assert "further images of the law of train" in record.protocol
            assert record.protocol != found[metric, "real"].protocol


def test_fresh_images_are_nearer_than_what_has_another_law(store):
    found = records_of(store, "reference")
    for other in ("mean image", "noise"):
        assert found["gfd", "fresh"].value < found["gfd", other].value / 2


def test_a_data_set_of_files_has_no_further_images(tmp_path, monkeypatch):
    monkeypatch.delattr(embedded, "fresh")
    assert run(Store(tmp_path), asked("kl_vae"), "reference")["reference"] == "done"
    splits = {split for _, split in records_of(Store(tmp_path), "reference")}
    assert splits == {"real", "mean image", "noise"}


# Of generation


def encoded(store: Store, variant: str) -> tuple[Tensor, LatentStatistics]:
    """One sample of the posterior of each of the first training images, and the statistics of all."""
    row = asked(variant)
    tokenizer = weights.load_tokenizer(row, run_of(store, decoder(row), variant))
    posterior = autoencode.encode(tokenizer, training_images(store)[:GENERATED], CPU)
    noise = Draws(row.seed, "reconstructions", 0).normal("latents", *posterior.mean.shape)
    return posterior.sample(noise), load_statistics(run_of(store, "latents", variant))


@pytest.mark.parametrize("variant", LATENTS, ids=LATENTS.get)
def test_reconstructions_are_what_the_decoder_makes_of_perfect_latents(variant, store):
    row, found = asked(variant), records_of(store, "generation", variant)
    z, _ = encoded(store, variant)
    tokenizer = weights.load_tokenizer(row, run_of(store, decoder(row), variant))
    expected = features(autoencode.decode(tokenizer, z, CPU)), features(channels_first(training_images(store)))
    record = found["gfd", "reconstructions"]
    assert record.value == pytest.approx(of_features(*expected), rel=1e-3)  # latents are kept in float16
    assert record.n == TRAIN
    assert "one sample of the posterior of each of the first training images, not mirrored" in record.protocol
    of_set = {metric for metric, split in found if split == "reconstructions"}
    assert of_set == {"gfd", "precision", "recall"}


@pytest.mark.parametrize("variant", LATENTS, ids=LATENTS.get)
def test_latents_are_compared_with_those_of_training_images(variant, store):
    """As the generator has them: normalised by the statistics that it was trained with."""
    row, found = asked(variant), records_of(store, "generation", variant)
    z, statistics = encoded(store, variant)
    others = {
        "samples": statistics.normalise(torch.from_numpy(np.load(run_of(store, "samples", variant).file(SAMPLES)))),
        "guided": statistics.normalise(
            torch.from_numpy(np.load(run_of(store, "guided_samples", variant).file(SAMPLES)))
        ),
        "prior": Noise(row.seed, range(GENERATED), z.shape[1:])(),
    }
    reference = statistics.normalise(z).flatten(1)
    for split, latents in others.items():
        record = found["latent_fd", split]
        assert record.value == pytest.approx(of_features(latents.flatten(1), reference), rel=1e-2), split
        assert (record.n, record.step) == (GENERATED, STEPS)
        assert f"each of {TRAIN} training images" in record.protocol
        assert found["two_sample", split].n == TRAIN  # half of as many as there are of the fewer kind, of both kinds
    assert ("latent_fd", "reconstructions") not in found


def test_every_set_is_shown(store):
    shown = np.load(run_of(store, "generation").file("shown.npz"))
    assert set(shown) == {split for _, split in records_of(store, "generation")}
    assert set(shown) == {"samples", "guided", "prior", "reconstructions"}
    assert {shown[name].shape[1:] for name in shown} == {(32, 32, 3)}


# Moments


@pytest.mark.parametrize("moments", [MOMENTS, MOMENTS_OF_GENERATOR])
@pytest.mark.parametrize("steps", [1, 3, 20, 40, 1000, 250_001])
def test_moments_are_even_and_end_with_the_training(steps, moments):
    found = snapshot_steps(steps, moments)
    assert found[-1] == steps
    assert len(found) == min(steps, moments)
    assert min(found) >= 1
    gaps = np.diff([0, *found])
    assert gaps.min() >= 1 and gaps.max() - gaps.min() <= 1


def test_a_generator_is_measured_at_twenty_moments(store):
    steps = snapshot_steps(STEPS, MOMENTS_OF_GENERATOR)
    assert len(steps) == 20
    measured = run_of(store, "generator_snapshots").records()
    assert [(r.metric, r.split, r.step) for r in measured] == [("gfd", "samples", step) for step in steps]
    kept = run_of(store, "generator").result()["files"]
    assert {name for name in kept if name.endswith(".safetensors")} == {snapshot_file(s, STEPS) for s in steps}


def test_a_tokenizer_keeps_five_moments(store):
    steps = asked("kl_vae").training.steps
    kept = run_of(store, "tokenizer").result()["files"]
    expected = {snapshot_file(s, steps) for s in snapshot_steps(steps)}
    assert {name for name in kept if name.endswith(".safetensors")} == expected
    assert (steps, len(expected)) == (7, 5)
