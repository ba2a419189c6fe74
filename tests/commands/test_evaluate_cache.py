"""`python -m harness.evaluate` looks at the same images once, and keeps nothing that is half written."""

from __future__ import annotations

import dataclasses
import errno
import os
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from harness.data.image_sets import open_images
from harness.evaluation import feature_cache, fidelity
from harness.evaluation.protocols import PROTOCOLS
from harness.system.files import read_json
from tests.commands.evaluated import M, N, Quick, asking, exit_of, npz, refused, scored, stored, tensor
from tests.evaluation.judges import peak

pytestmark = pytest.mark.usefixtures("empty_folder")


# Looking once


def test_the_same_images_are_looked_at_once(sets, quick, capsys, images, originals, tmp_path):
    words = asking(sets, "lite")
    first = scored(capsys, *words)
    assert sum(quick.shown) == N + M
    assert max(quick.shown) <= fidelity.BATCH
    of_first = stored()

    def shown(*words: object) -> int:
        quick.shown.clear()
        scored(capsys, *words)
        return sum(quick.shown)

    assert scored(capsys, *words) == first
    assert shown(*words) == 0
    assert stored() == of_first
    shutil.copy(sets / "images.npz", tmp_path / "moved.npz")
    assert shown(*asking(sets, "lite", tmp_path / "moved.npz")) == 0  # it is the content that counts
    assert shown(*asking(sets, "lite", "originals.npz", "images.npz")) == 0
    changed = images.copy()
    changed[7, 3, 3] ^= 255
    npz(tmp_path / "changed.npz", changed)
    assert shown(*asking(sets, "lite", tmp_path / "changed.npz")) == N
    assert shown(*asking(sets, "lite", tmp_path / "changed.npz")) == 0
    npz(tmp_path / "backwards.npz", images[::-1])  # whose shuffle would be another
    assert shown(*asking(sets, "lite", tmp_path / "backwards.npz")) == N
    assert shown(*words, "--runs", tmp_path / "elsewhere") == N + M
    assert shown(*words, "--how", "by hand") == 0


def test_another_network_weights_or_side_looks_again(sets, quick, small, capsys, monkeypatch):
    def shown(*words: object) -> int:
        quick.shown.clear()
        scored(capsys, *words)
        return sum(quick.shown)

    adm = [*asking(sets, "adm256"), "--fewer"]
    assert shown(*asking(sets, "lite")) == N + M
    assert shown(*adm) == N + M
    assert shown(*[sets / "other.pth" if word == sets / "weights.pth" else word for word in adm]) == N + M
    assert shown(*asking(sets, "fd-dinov2"), "--fewer") == N + M
    assert shown(*asking(sets, "adm512"), "--fewer") == 0  # what the network sees is the same
    monkeypatch.setitem(PROTOCOLS, "lite", dataclasses.replace(PROTOCOLS["lite"], px=48))
    assert shown(*asking(sets, "lite")) == N + M


def test_what_was_seen_is_kept_in_the_order_of_the_images(sets, quick, small, capsys, images, originals, monkeypatch):
    monkeypatch.setattr(feature_cache, "BATCH", 7)
    scored(capsys, *asking(sets, "adm256"), "--fewer")
    assert quick.shown == [7, 7, 7, 7, 7, 5, 7, 7, 7, 7, 7, 7, 4]
    abouts = {read_json(folder / "about.json")["images"]: folder for folder in stored()}
    assert len(abouts) == len(stored()) == 2
    for pixels, about in (
        (images, f"{N} images of images.npz, 32 px"),
        (originals, f"{M} images of originals.npz, 32 px"),
    ):
        folder, seen = abouts[about], quick.see(tensor(pixels))
        assert sorted(path.name for path in folder.iterdir()) == [
            "about.json",
            "features.npy",
            "logits.npy",
            "spatial.npz",
        ]
        for name in ("features", "logits"):
            array = np.load(folder / f"{name}.npy")
            assert array.dtype == np.float32
            np.testing.assert_allclose(array, seen[name].numpy(), rtol=1e-5, atol=1e-5)
        moments = feature_cache.SeenImages(folder).spatial
        assert moments.n == len(pixels)
        expected = np.cov(seen["spatial"].double().numpy(), rowvar=False)
        np.testing.assert_allclose(moments.gaussian.covariance.numpy(), expected, rtol=1e-5, atol=1e-5)


def test_another_process_may_be_first(sets, quick, monkeypatch):
    pictures = open_images(sets / "images.npz")

    def meanwhile(found: dict[str, Tensor]) -> None:
        quick.trouble = lambda found: None
        feature_cache.look(pictures, quick, "quick", Path("runs"), True)

    quick.trouble = meanwhile
    found = feature_cache.look(pictures, quick, "quick", Path("runs"), True)
    assert len(found.features) == N
    assert stored() == [found.folder]


def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    def needed(count: int) -> tuple[int, int]:
        """Bytes at once, of NumPy's arrays and of torch's tensors."""
        pictures = open_images(npz(tmp_path / f"{count}.npz", np.zeros((count, 16, 16, 3), np.uint8)))
        assert pictures.digest  # which reads the file in chunks of its own
        tracemalloc.start()
        tensors = peak(lambda: feature_cache.look(pictures, Quick(), count, tmp_path / "runs", True))
        arrays = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return arrays, tensors

    needed(100)  # what is made once
    (arrays, tensors), (more_arrays, more_tensors) = needed(512), needed(2048)
    assert arrays > fidelity.BATCH * 16 * 16 * 3
    assert tensors > fidelity.BATCH * 16 * 16 * 3 * 4
    assert more_arrays < 1.3 * arrays
    assert more_tensors < 1.3 * tensors


# What goes wrong while it looks


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("part", ["features", "logits", "spatial"])
def test_what_is_not_finite_is_a_mistake_of_one_line(part, value, sets, quick, small, capsys, monkeypatch):
    monkeypatch.setattr(feature_cache, "BATCH", 16)

    def spoil(found: dict[str, Tensor]) -> None:
        if len(quick.shown) == 2:
            found[part][3, 1] = value

    quick.trouble = spoil
    line = refused(monkeypatch, capsys, *asking(sets, "adm256"), "--fewer")
    assert f"{part} of images 16 and on are not finite" in line
    assert f"{N} images of images.npz" in line
    assert stored() == []


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (OSError(28, "No space left on device"), 1)])
def test_nothing_half_written_stays_after_an_interruption_and_the_command_goes_on(
    error, code, sets, quick, capsys, monkeypatch
):
    monkeypatch.setattr(feature_cache, "BATCH", 16)
    words = [*asking(sets, "lite"), "--quiet"]

    def interrupt(found: dict[str, Tensor]) -> None:
        if len(quick.shown) == 5:  # in the middle of the reference
            raise error

    quick.trouble = interrupt
    assert exit_of(monkeypatch, *words, "--save-npz", "saved.npz") == code
    out, errors = capsys.readouterr()
    assert (out, errors.count("\n")) == ("", 1)
    (of_images,) = stored()
    assert len(np.load(of_images / "features.npy")) == N
    assert not Path("saved.npz").exists()
    quick.shown.clear()
    quick.trouble = lambda found: None
    found = scored(capsys, *words)
    assert quick.shown == [16, 16, 14]  # the reference alone
    assert found == scored(capsys, *words, "--runs", "fresh")


# Damage


def flipped(folder: Path) -> None:
    content = bytearray((folder / "features.npy").read_bytes())
    content[-3] ^= 1
    (folder / "features.npy").write_bytes(content)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "one bit": flipped,
    "cut": lambda folder: os.truncate(folder / "features.npy", 200),
    "empty": lambda folder: os.truncate(folder / "features.npy", 0),
    "a file is gone": lambda folder: (folder / "features.npy").unlink(),
    "checksums are gone": lambda folder: (folder / "about.json").unlink(),
    "checksums are damaged": lambda folder: os.truncate(folder / "about.json", 20),
    "checksums of nothing": lambda folder: (folder / "about.json").write_text("{}"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_outputs_are_made_again_and_the_numbers_stay(case, sets, quick, capsys, monkeypatch):
    words = asking(sets, "lite")
    expected = scored(capsys, *words)
    folders = stored()
    for folder in folders:
        DAMAGE[case](folder)
    quick.shown.clear()
    assert exit_of(monkeypatch, *words) == 0
    output = capsys.readouterr()
    assert sum(quick.shown) == N + M
    assert output.err.count("is damaged and is made again") == len(folders)
    quick.shown.clear()
    assert scored(capsys, *words) == expected
    assert not quick.shown


def test_a_full_disk_is_one_line_before_any_image_is_lost(sets, quick, capsys, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    assert exit_of(monkeypatch, *asking(sets, "lite"), "--quiet") == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "No space left on device" in error
    assert "features.npy" in error
    assert not list(Path().glob("*/features/*"))
    assert not list(Path().glob("*/features/.*"))
