"""Stages take images in chunks, and of many training images they keep some."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.data import splits
from harness.data.tensors import channels_first
from harness.evaluation import fidelity, generated, reconstructed
from harness.evaluation.frechet import FeatureMoments
from harness.evaluation.generated import Generated
from harness.evaluation.reconstructed import Reconstructed
from harness.evaluation.records import records
from harness.evaluation.reference import TrainingFeatures
from harness.evaluation.reference import load as load_reference
from harness.experiments.experiment import Experiment
from harness.networks.frozen import Outputs
from harness.planning.task import task
from harness.stages import reference
from harness.store.records import Record
from harness.store.runs import Store
from tests.conftest import experiment
from tests.evaluation.tokenizer import made
from tests.stages.few_images import CPU, FEW, run


class Counted:
    """An array that counts how often each image was asked for, and the most that were at once."""

    def __init__(self, images: np.ndarray):
        self.images, self.shape = images, images.shape
        self.times, self.most = np.zeros(len(images), int), 0

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: slice) -> np.ndarray:
        self.times[rows] += 1
        self.most = max(self.most, len(self.images[rows]))
        return self.images[rows]

    def __array__(self, *_: object, **__: object) -> np.ndarray:
        raise AssertionError("the whole split is asked for")


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Counted]:
    """Splits by name, as they were opened."""
    rng = np.random.default_rng(0)
    arrays = {split: rng.integers(0, 256, (n, 32, 32, 3), np.uint8) for split, n in (("train", 300), ("val", 300))}
    found = {split: Counted(images) for split, images in arrays.items()}
    monkeypatch.setattr(splits, "open_split", lambda _, split: splits.Split(found[split], np.arange(300) % 4, None))  # type: ignore[arg-type]
    return found


def measured(folder: Path) -> list[Record]:
    names = ["rfd", "kid", "psnr", "ssim", "shuffled_error", "dropped_token", "probe_mean"]
    return records(Reconstructed(made("kl_vae"), experiment("kl_vae"), CPU, folder, "val", 0), names)


def test_chunks_of_any_size_give_the_same_bits(counted, tmp_path, monkeypatch):
    monkeypatch.setattr(reconstructed, "DROPPED_IMAGES", 20)
    whole = measured(tmp_path)
    monkeypatch.setattr(reconstructed, "CHUNK", 128)
    assert measured(tmp_path) == whole
    assert len(whole) == 7


def test_no_more_images_than_a_chunk_are_asked_for_at_once_and_none_often(counted, tmp_path, monkeypatch):
    monkeypatch.setattr(reconstructed, "CHUNK", 128)
    monkeypatch.setattr(reconstructed, "DROPPED_IMAGES", 20)
    measured(tmp_path)
    assert 0 < max(split.most for split in counted.values()) <= 128
    assert counted["val"].times.max() <= 4  # encoded, compared, SSIM, and the first ones without each token
    assert counted["val"].times[-1] == 3
    assert counted["train"].times[:256].max() == 1


def test_shuffled_errors_are_those_of_the_latents_of_the_image_before(counted, tmp_path, monkeypatch):
    monkeypatch.setattr(reconstructed, "CHUNK", 128)
    m = Reconstructed(made("kl_vae"), experiment("kl_vae"), CPU, tmp_path, "val", 0)
    pairs = [torch.cat(images) for images in zip(*m.pairs(), strict=True)]
    difference = (pairs[0].double() - pairs[1].roll(1, 0).double()) / 127.5
    expected = difference.square().mean((1, 2, 3))
    torch.testing.assert_close(m.shuffled_errors, expected, rtol=0, atol=2e-5)
    assert not torch.allclose(m.shuffled_errors, m.errors, rtol=0, atol=1e-3)


def kept(
    store: Store, asked: Experiment, count: int, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], TrainingFeatures]:
    monkeypatch.setattr(reference, "KEPT", count)
    monkeypatch.setattr(reference, "CHUNK", 10)
    assert run(store, asked, "reference")["reference"] == "done"
    return load_reference(task("reference", asked).run_in(store))


def test_of_many_training_images_all_moments_and_some_features_are_kept(tmp_path, monkeypatch):
    asked = experiment("mactok", **FEW | {"data__train_images": 64, "data__val_images": 20})
    every = kept(Store(tmp_path / "all"), asked, 64, monkeypatch)
    some = kept(Store(tmp_path / "some"), asked, 21, monkeypatch)
    assert every.moments is None
    assert some.images == every.images == 64
    places = [i * 64 // 21 for i in range(21)]
    train = splits.open_split(task("data", asked).run_in(Store(tmp_path / "all")).folder, "train").images
    expected = fidelity.outputs(channels_first(train[:]), fidelity.network(asked.evaluation, CPU)).features
    torch.testing.assert_close(every.features, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(some.features, expected[places], rtol=1e-4, atol=1e-4)
    expected = FeatureMoments.of(every.features)
    torch.testing.assert_close(some.moments.mean, expected.mean)
    torch.testing.assert_close(some.moments.scatter, expected.scatter)
    of_all, of_some = (
        {(r.metric, r.split): r for r in task("reference", asked).run_in(Store(tmp_path / name)).records()}
        for name in ("all", "some")
    )
    assert of_some["gfd", "real"].value == pytest.approx(of_all["gfd", "real"].value, rel=1e-6)
    assert of_some["gfd", "real"].protocol == of_all["gfd", "real"].protocol
    assert "reference: 20 training images" in of_some["precision", "real"].protocol


def test_precision_takes_no_more_training_images_than_adm_does(monkeypatch):
    assert generated.REFERENCE_IMAGES == 10_000
    monkeypatch.setattr(generated, "REFERENCE_IMAGES", 12)
    features = torch.from_numpy(np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32))
    m = Generated(Outputs(features[:30]), TrainingFeatures(features[30:]), experiment(), "samples", "drawn")
    assert m.precision_recall == fidelity.precision_recall(features[:30], features[30:][torch.arange(12) * 30 // 12])
    protocol = next(r.protocol for r in records(m, ["precision"]))
    assert "12 training images" in protocol
