"""The linear foils as stages: closed forms on the images of an experiment, against numpy's."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.data import splits
from harness.data.tensors import to_uint8
from harness.evaluation import collapse, components, fidelity, foils
from harness.evaluation.frechet import of_features
from harness.experiments.experiment import Experiment
from harness.experiments.requests import stages_of_row
from harness.latents.sampling import Noise
from harness.planning.task import task
from harness.store.records import Record
from harness.store.runs import Run, Store
from harness.system import plugins
from tests.conftest import SIDE, experiment
from tests.stages.few_images import CPU, FEW, run

FOILS = ("pca", "linear_gaussian")
STAGES = (*FOILS, "pca_active")
TRAIN, VAL = 512, 128
NUMBERS = 32  # L x Z at smoke
PIXELS = 3 * SIDE**2
IMAGES = {"data__train_images": TRAIN, "data__val_images": VAL, "evaluation__probe_images": 64}
ASKED = experiment("kl_vae", **FEW | IMAGES | {"finetuning__on": False})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    found = Store(tmp_path_factory.mktemp("foils"))
    assert set(run(found, ASKED, *STAGES, "diagnosis").values()) == {"done"}
    return found


def run_of(store: Store, stage: str, asked: Experiment = ASKED) -> Run:
    return task(stage, asked).run_in(store)


def value(store: Store, stage: str, metric: str, split: str = "val") -> float:
    return next(r.value for r in run_of(store, stage).records() if (r.metric, r.split) == (metric, split))


def pixels(store: Store, split: str, asked: Experiment = ASKED) -> np.ndarray:
    """The images of a split (n, D) in [-1, 1], float64, channels first."""
    images = np.array(splits.open_split(run_of(store, "data", asked).folder, split).images)
    return images.transpose(0, 3, 1, 2).reshape(len(images), -1) / 127.5 - 1


@cache
def decomposed(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, components as rows and variances of the training images, by numpy's SVD in float64."""
    x = pixels(Store(folder), "train")
    _, singular, rows = np.linalg.svd(x - x.mean(0), full_matrices=False)
    return x.mean(0), rows, singular**2 / (len(x) - 1)


def psnr(originals: np.ndarray, reconstructions: np.ndarray) -> float:
    """Of images (n, D) in [-1, 1], after rounding to 8 bits: per image, then the mean."""
    rounded = np.rint((reconstructions.clip(-1, 1) + 1) * 127.5) / 127.5 - 1
    return float((10 * np.log10(4 / np.square(rounded - originals).mean(1))).mean())


# What is measured


@pytest.mark.parametrize("stage", STAGES)
def test_numbers_come_with_their_count_and_protocol(stage, store):
    measured = run_of(store, stage).records()
    assert measured
    for r in measured:
        assert np.isfinite(r.value), r
        assert r.n == (ASKED.sampling.images if r.split == "prior" else VAL), r
        assert len(r.protocol) > 20 and r.protocol_id.startswith("lite-"), r
        assert (r.step == ASKED.training.steps) == (stage == "pca_active"), r
        if r.split == "prior":
            assert foils.PRIOR in r.protocol


def names_of(measured: list[Record], split: str) -> set[str]:
    return {r.metric for r in measured if r.split == split}


@pytest.mark.parametrize("stage", FOILS)
def test_all_splits_and_the_prior_are_measured(stage, store):
    measured = run_of(store, stage).records()
    assert {r.split for r in measured} == {"val", "val_unseen", "prior"}
    for split in ("val", "val_unseen", "prior"):
        modules = {name: plugins.load("harness.evaluation.metrics", name, "metric") for name in foils.METRICS}
        defined = {name for name, metric in modules.items() if split in metric.splits}
        assert names_of(measured, split) == defined - ({"kl"} if stage == "pca" else set())  # it is deterministic
    assert ("kl" in names_of(measured, "val")) == (stage == "linear_gaussian")


def test_a_foil_names_no_metric_that_none_of_its_sets_has():
    reached = {"val", "val_unseen", "prior"}
    for name in foils.METRICS:
        assert reached & set(plugins.load("harness.evaluation.metrics", name, "metric").splits), name


def test_the_third_foil_measures_reconstructions_alone(store):
    assert {(r.metric, r.split) for r in run_of(store, "pca_active").records()} == {("rfd", "val"), ("psnr", "val")}


# Numbers


def test_components_of_the_stage_are_those_of_the_training_images(store):
    found, (mean, rows, variances) = components.load(run_of(store, "components")), decomposed(store.root)
    assert run_of(store, "components").records() == []
    assert (found.images, len(found.vectors)) == (TRAIN, TRAIN - 1)
    np.testing.assert_allclose(found.mean, mean, atol=1e-6)
    np.testing.assert_allclose(found.eigenvalues, variances[:-1], rtol=1e-4, atol=components.ROUNDING * variances[0])
    assert np.abs((found.vectors.numpy() * rows[:-1]).sum(1))[:NUMBERS].min() > 0.999


def test_principal_components_reconstruct_as_numpys_do(store):
    (mean, rows, _), x = decomposed(store.root), pixels(store, "val")
    expected = psnr(x, mean + (x - mean) @ rows[:NUMBERS].T @ rows[:NUMBERS])
    assert value(store, "pca", "psnr") == pytest.approx(expected, abs=1e-3)
    assert run_of(store, "pca").fact("numbers") == NUMBERS


def shrunk(store: Store, level: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the linear-Gaussian optimum: its components, their variances, and the share that the mode keeps of each."""
    _, rows, variances = decomposed(store.root)
    kept = variances[:NUMBERS][variances[:NUMBERS] > level]
    return rows[: len(kept)], kept, 1 - level / kept


def test_the_linear_gaussian_optimum_reconstructs_by_its_mode(store):
    (mean, _, _), x = decomposed(store.root), pixels(store, "val")
    rows, _, share = shrunk(store, collapse.water_level(ASKED))
    expected = psnr(x, mean + (x - mean) @ rows.T * share @ rows)
    assert value(store, "linear_gaussian", "psnr") == pytest.approx(expected, abs=1e-3)
    assert run_of(store, "linear_gaussian").fact("numbers") == len(rows) <= NUMBERS


def test_the_kl_of_the_linear_gaussian_optimum_is_that_of_its_posteriors(store):
    mean, level = decomposed(store.root)[0], collapse.water_level(ASKED)
    rows, kept, share = shrunk(store, level)

    def nats(x: np.ndarray) -> float:
        second = np.square((x - mean) @ rows.T).mean(0) * share / kept
        return float((second + level / kept - 1 - np.log(level / kept)).sum() / 2)

    of_training = collapse.linear_gaussian_kl(decomposed(store.root)[2], level, NUMBERS)
    assert nats(pixels(store, "train")) == pytest.approx(of_training, rel=0.01)
    found = value(store, "linear_gaussian", "kl")
    assert found == pytest.approx(nats(pixels(store, "val")), rel=1e-3)
    assert found == pytest.approx(of_training, rel=0.03)  # on other images


def test_the_yardstick_of_rows_is_the_kl_of_the_optimum_on_the_training_images(store):
    """What `linear_gaussian_kl` says beside a tokenizer is what its foil spends on the images it is made from."""
    level = collapse.water_level(ASKED)
    expected = collapse.linear_gaussian_kl(decomposed(store.root)[2], level, NUMBERS)
    record = next(r for r in run_of(store, "diagnosis").records() if r.metric == "linear_gaussian_kl")
    assert (record.value, record.n) == (pytest.approx(expected, rel=1e-4), TRAIN)
    assert value(store, "evaluation", "linear_gaussian_kl") == record.value


def test_the_prior_decodes_to_gaussian_images(store):
    """Mean plus components, each by noise and by its standard deviation; what it loses at a level, it loses here."""
    mean, level = decomposed(store.root)[0], collapse.water_level(ASKED)
    for stage, lost in (("pca", 0.0), ("linear_gaussian", level)):
        rows, kept, share = shrunk(store, lost)
        signs = np.sign((components.load(run_of(store, "components")).vectors[: len(rows)].numpy() * rows).sum(1))
        noise = Noise(0, range(ASKED.sampling.images), (len(rows), 1))()[..., 0].double().numpy()
        drawn = mean + noise * signs * np.sqrt(kept * share) @ rows
        images = to_uint8(torch.from_numpy(drawn).float().unflatten(1, (3, SIDE, SIDE)))
        train = torch.from_numpy(np.array(splits.open_split(run_of(store, "data").folder, "train").images))
        network = fidelity.network(ASKED.evaluation, CPU, logits=False)
        seen = [fidelity.outputs(x.contiguous(), network).features for x in (images, train.permute(0, 3, 1, 2))]
        assert value(store, stage, "gfd", "prior") == pytest.approx(of_features(*seen), rel=2e-3)


def test_the_third_foil_has_as_many_numbers_as_units_are_active(store):
    active = value(store, "evaluation", "active_units")
    numbers = run_of(store, "pca_active").fact("numbers")
    assert numbers == round(active / 100 * NUMBERS)
    assert numbers < NUMBERS  # or it says no more than the first
    (mean, rows, _), x = decomposed(store.root), pixels(store, "val")
    expected = psnr(x, mean + (x - mean) @ rows[:numbers].T @ rows[:numbers])
    assert value(store, "pca_active", "psnr") == pytest.approx(expected, abs=1e-3)


# At the borders


def few(**fields: object) -> Experiment:
    return experiment("kl_vae", **FEW | {"finetuning__on": False} | fields)


def done(store: Store, asked: Experiment, stage: str) -> Run:
    assert run(store, asked, stage)[stage] == "done"
    return run_of(store, stage, asked)


def test_without_a_generator_no_prior_is_decoded_and_no_reference_made(tmp_path):
    asked = few(generator__on=False)
    for stage in FOILS:
        assert {r.split for r in done(Store(tmp_path), asked, stage).records()} == {"val", "val_unseen"}
    assert "reference" not in task("pca", asked).inputs
    assert not (tmp_path / "reference").exists()


def of_the_mean_image(store: Store, asked: Experiment) -> float:
    x = pixels(store, "val", asked)
    return psnr(x, np.tile(pixels(store, "train", asked).mean(0), (len(x), 1)))


def test_a_level_above_all_components_leaves_the_mean_image(tmp_path):
    asked = few(tokenizer__gaussian__kl_weight=100.0)
    store = Store(tmp_path)
    found = done(store, asked, "linear_gaussian")
    assert found.fact("numbers") == 0
    by_name = {(r.metric, r.split): r.value for r in found.records()}
    assert by_name["kl", "val"] == 0
    assert all(map(np.isfinite, by_name.values()))
    assert by_name["psnr", "val"] == pytest.approx(of_the_mean_image(store, asked), abs=1e-3)


@pytest.mark.parametrize("stage", FOILS)
def test_latents_of_more_numbers_than_there_are_components(stage, tmp_path, monkeypatch):
    """Of 24 training images there are 23 components, of which 10 are kept here: fewer than the 32 numbers."""
    monkeypatch.setattr(components, "MOST_COMPONENTS", 10)
    assert done(Store(tmp_path), few(), stage).fact("numbers") == 10


def test_a_row_without_active_units_is_held_against_the_mean_image(tmp_path, monkeypatch):
    monkeypatch.setattr(collapse, "ACTIVE_VARIANCE", 1e9)
    store, asked = Store(tmp_path), few(generator__on=False)
    found = done(store, asked, "pca_active")
    assert found.fact("numbers") == 0
    value = next(r.value for r in found.records() if r.metric == "psnr")
    assert value == pytest.approx(of_the_mean_image(store, asked), abs=1e-3)


# Keys


CHANGES = {
    "seed": {"seed": 1},
    "length": {"training__steps": 6},
    "part of the method": {"tokenizer__alignment__weight": 0.2},
    "KL weight": {"tokenizer__gaussian__kl_weight": 0.5},
    "numbers": {"tokenizer__channels": 8},
    "generated images": {"sampling__images": 33},
    "measure": {"evaluation__kid_subsets": 3},
    "data": {"data__val_images": 17},
}
ANEW = {
    "components": {"data"},
    "pca": {"numbers", "generated images", "measure", "data"},
    "linear_gaussian": {"KL weight", "numbers", "generated images", "measure", "data"},
    "pca_active": set(CHANGES) - {"generated images"},
}


@pytest.mark.parametrize("stage", ANEW)
def test_rows_share_what_does_not_depend_on_their_training(stage):
    keys = {name: task(stage, experiment("mactok", **FEW | fields)).key for name, fields in CHANGES.items()}
    before = task(stage, experiment("mactok", **FEW)).key
    assert {name for name, key in keys.items() if key != before} == ANEW[stage]


def test_a_row_reads_the_foils_that_it_has():
    assert set(STAGES) <= set(stages_of_row(experiment("mactok")))
    assert set(stages_of_row(experiment("autoencoder"))) & set(STAGES) == {"pca", "pca_active"}
