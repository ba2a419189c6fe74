"""Fixtures that several tests of commands share."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.data.splits import open_split
from harness.evaluation.protocols import PROTOCOLS
from harness.networks import lpips
from harness.networks.measures import dinov2, inception
from harness.store.runs import Store
from tests.commands.evaluated import MEASURES, SIDE, SPATIAL, D, M, N, Quick, crops, difference, npz, saved
from tests.commands.pictured import run_of
from tests.conftest import save_class

# For `evaluate`


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return crops(N, left=200, contrast=0.7)


@pytest.fixture(scope="module")
def originals() -> np.ndarray:
    return crops(M)


@pytest.fixture(scope="module")
def sets(images: np.ndarray, originals: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both sets, as folders and as npz files, and with small files in place of weights."""
    place = tmp_path_factory.mktemp("sets")
    for name, pixels in (("images", images), ("originals", originals)):
        saved(place / name, pixels)
        npz(place / f"{name}.npz", pixels)
    for name in ("weights.pth", "other.pth", "vgg.pth"):
        (place / name).write_text(name)
    return place


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The test works in an empty folder and finds no weights."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("TOKENIZER_WEIGHTS", str(tmp_path / "no weights"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "no cache"))
    return tmp_path / "here"


def digits(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()[:8]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Quick:
    """`Quick` takes the place of every network, and the mean difference of pixels that of LPIPS.

    `weights.pth` and `vgg.pth` of `sets` stand for the published weights.
    """
    network = Quick()
    for measure in (inception, dinov2):
        monkeypatch.setattr(measure, "WEIGHTS", dataclasses.replace(measure.WEIGHTS, sha256=digits("weights.pth")))
    monkeypatch.setattr(lpips, "WEIGHTS", dataclasses.replace(lpips.WEIGHTS, sha256=digits("vgg.pth")))
    for measure in MEASURES.values():
        monkeypatch.setattr(measure, "load", lambda machine, side=None, weights=None, **_: network)
        monkeypatch.setattr(measure, "features", D)
        monkeypatch.setattr(measure, "spatial", SPATIAL)
    monkeypatch.setattr(lpips, "load", lambda machine, weights=None: difference)
    return network


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protocols take images of `SIDE` pixels, so that tests need not write large ones."""
    for name, protocol in PROTOCOLS.items():
        if protocol.side:
            monkeypatch.setitem(PROTOCOLS, name, dataclasses.replace(protocol, side=SIDE))


# For `runs` and `prune`


@pytest.fixture
def answer(monkeypatch):
    """Somebody at the terminal, who answers so."""

    def sit_down(text: str) -> None:
        terminal = io.StringIO(text)
        terminal.isatty = lambda: True
        monkeypatch.setattr(sys, "stdin", terminal)

    return sit_down


# For `generate` and `reconstruct`


@pytest.fixture(scope="module")
def album(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of the data set, some under one name in two folders, and crops of a photograph in several formats."""
    place = tmp_path_factory.mktemp("album")
    images = open_split(run_of(Store(runs), "data").folder, "val").images
    for i, name in enumerate(["b/one.png", "b/two.png", "a/one.png", "a/deep/three.png"]):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[i]).save(place / name)
    (place / "a/notes.txt").write_text("no image")
    (place / "a/.hidden.png").write_text("no image")
    (place / "a/folder.png").mkdir()
    save_class(place / "photographs", 3)
    return place
