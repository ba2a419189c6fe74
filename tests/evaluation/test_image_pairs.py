"""Reconstructions from elsewhere are measured as those of a tokenizer are."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from harness.data.splits import Split
from harness.evaluation import records as metrics
from harness.evaluation.fidelity import features
from harness.evaluation.frechet import of_features
from harness.evaluation.image_pairs import METRICS, ImagePairs
from harness.evaluation.pixels import psnr, ssim
from harness.evaluation.reconstructed import squared_errors
from harness.system.errors import Mistake
from tests.conftest import DRAWS, MACHINE, SIDE, experiment

N = 20


def saved(folder: Path, images: np.ndarray, suffix: str = ".png") -> Path:
    folder.mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{i}{suffix}")
    return folder


@pytest.fixture
def originals() -> np.ndarray:
    return (DRAWS.uniform("originals", N, SIDE, SIDE, 3) * 255).byte().numpy()


@pytest.fixture
def pair(originals: np.ndarray, tmp_path: Path) -> ImagePairs:
    saved(tmp_path / "originals", originals)
    saved(tmp_path / "mine", originals // 2 + 40, ".bmp")
    return ImagePairs(tmp_path / "originals", tmp_path / "mine", experiment())


def test_the_numbers_are_those_of_the_metrics(pair, originals, float32):
    found = {r.metric: r for r in metrics.records(pair, METRICS)}
    assert list(found) == METRICS
    a, b = (images.transpose(0, 3, 1, 2) for images in (originals, originals // 2 + 40))
    tensors = [torch.from_numpy(np.ascontiguousarray(x)) for x in (a, b)]
    assert found["psnr"].value == pytest.approx(psnr(squared_errors(*tensors)).mean().item())
    assert found["ssim"].value == pytest.approx(np.mean(ssim(a, b)))
    seen = [features(x, pair.experiment.evaluation.metrics_px, MACHINE) for x in reversed(tensors)]
    assert found["rfd"].value == pytest.approx(of_features(*seen), rel=1e-4)
    assert {r.n for r in found.values()} == {N}


def test_the_protocol_names_the_originals(pair, tmp_path, originals, float32):
    (record,) = metrics.records(pair, ["psnr"])
    assert re.search(r"reconstructions from files; data `folder`, content [0-9a-f]{12}$", record.protocol)
    other = originals.copy()
    other[0, 0, 0] ^= 1
    saved(tmp_path / "others", other)
    (changed,) = metrics.records(ImagePairs(tmp_path / "others", tmp_path / "mine", experiment()), ["psnr"])
    assert changed.protocol_id != record.protocol_id


def test_originals_are_known_in_any_order(pair, originals):
    labels = np.zeros(N)
    assert pair.are_of(Split(originals[::-1], labels, None))
    assert not pair.are_of(Split(originals[1:], labels[1:], None))
    assert not pair.are_of(Split(np.concatenate([originals[1:], originals[1:2]]), labels, None))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda place: (place / "mine/3.bmp").unlink(),
            r"--pair compares files with the same names: \S+originals/3\.\w+ has no partner in \S+mine$",
        ),
        (lambda place: [path.unlink() for path in place.glob("*/1*")], "mine holds 9 images: at least 16 are needed"),
        (lambda place: Image.new("RGB", (8, 8)).save(place / "mine/3.bmp"), "is 8 px, not 32 px"),
    ],
    ids=["names", "few", "size"],
)
def test_what_is_no_pair_is_one_line(change, words, pair, tmp_path):
    change(tmp_path)
    with pytest.raises(Mistake, match=words) as error:
        ImagePairs(tmp_path / "originals", tmp_path / "mine", experiment())
    assert "\n" not in str(error.value)
