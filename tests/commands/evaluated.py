"""What the tests of `python -m harness.evaluate` share: images, the command, and a quick network."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from harness import cli, evaluate
from harness.evaluation import feature_cache
from harness.evaluation.protocols import PROTOCOLS
from harness.networks.frozen import Outputs
from harness.networks.measures import dinov2, inception, lite2
from tests.conftest import photograph

N, M, SIDE = 40, 46, 32  # images, those of the reference, pixels
D, SPATIAL, CLASSES = 12, 6, 10  # of the quick network
MEASURES = {"inception": inception, "dinov2": dinov2, "lite2": lite2}
Numbers = dict[str, dict[str, Any]]


def crops(count: int, side: int = SIDE, left: int = 0, contrast: float = 1.0) -> np.ndarray:
    """Crops of a photograph, uint8 (n, side, side, 3), beginning `left` pixels from its left edge or further right."""
    source, rng = np.asarray(photograph(), np.float32), np.random.default_rng(left)
    ends = source.shape[0] - side, min(left + 280, source.shape[1] - side)
    corners = rng.integers((0, left), ends, (count, 2))
    pixels = np.stack([source[y : y + side, x : x + side] for y, x in corners])
    return ((pixels - 128) * contrast + 128).clip(0, 255).round().astype(np.uint8)


def saved(folder: Path, images: np.ndarray) -> Path:
    folder.mkdir(parents=True)
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{i:03d}.png")
    return folder


def npz(path: Path, images: np.ndarray, **more: np.ndarray) -> Path:
    np.savez(path, images, **more)
    return path


def tensor(images: np.ndarray) -> Tensor:
    """uint8 (n, 3, H, W)."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


# Running it


def scored(capsys: pytest.CaptureFixture[str], *words: object) -> Numbers:
    """Every record that it prints, by what the metric is called."""
    assert evaluate.main([*map(str, words), "--json", "--quiet"]) == 0
    out, errors = capsys.readouterr()
    assert errors == ""
    found = json.loads(out)
    by_name = {record["metric"]: record for record in found}
    assert len(by_name) == len(found)
    return by_name


def values(found: Numbers) -> dict[str, float]:
    return {name: record["value"] for name, record in found.items()}


def exit_of(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    """The exit code of the command."""
    monkeypatch.setattr(sys, "argv", ["evaluate", *map(str, words)])
    with pytest.raises(SystemExit) as done:
        cli.run(evaluate.main)
    assert isinstance(done.value.code, int)
    return done.value.code


def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one line of a mistake, after which no file is there that was not before."""
    before = files(Path())
    assert exit_of(monkeypatch, *words) == 2
    out, errors = capsys.readouterr()
    assert out == ""
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    assert files(Path()) == before
    assert not list(Path().rglob(".*"))
    return errors.removeprefix("error: ").rstrip()


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def stored(runs: Path = Path("runs")) -> list[Path]:
    return sorted((runs / feature_cache.FOLDER).iterdir())


# A quick network


class Quick:
    """What it sees of images is a function of their pixels alone; and how many images it was shown."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.widths = {"features": D, "logits": CLASSES, "spatial": SPATIAL}
        self.weights = {
            name: torch.from_numpy(rng.normal(size=(48, width)).astype(np.float32))
            for name, width in self.widths.items()
        }
        self.shown: list[int] = []
        self.trouble: Callable[[dict[str, Tensor]], None] = lambda found: None

    def __call__(self, images: Tensor) -> Outputs:
        assert images.dtype == torch.uint8
        self.shown.append(len(images))
        found = self.see(images)
        self.trouble(found)
        return Outputs(**found)

    def see(self, images: Tensor) -> dict[str, Tensor]:
        x = functional.adaptive_avg_pool2d(images.float() / 127.5 - 1, 4).flatten(1)
        return {name: x @ of for name, of in self.weights.items()}


def difference(images: Tensor, others: Tensor) -> Tensor:
    return (images.float() - others.float()).abs().mean((1, 2, 3))


def asking(
    sets: Path, protocol: str, images: object = "images.npz", reference: object = "originals.npz"
) -> list[object]:
    """The words for a protocol on the quick network."""
    network, words = PROTOCOLS[protocol].network, [sets / str(images), "--reference", sets / str(reference)]
    words += ["--protocol", protocol, *(["--weights", sets / "weights.pth"] if network != "lite2" else [])]
    return words + (["--lpips-weights", sets / "vgg.pth"] if "lpips" in PROTOCOLS[protocol].titles else [])
