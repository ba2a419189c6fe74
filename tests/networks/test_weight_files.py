"""Files of weights are looked for where users are told, and files that do not fit are mistakes."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from harness.networks import lpips, weight_files
from harness.networks.measures import dinov2, inception
from harness.networks.weight_files import short_checksum
from harness.system.errors import Mistake
from tests.networks.random_weights import MACHINE, load

pytestmark = pytest.mark.usefixtures("no_network")

FROM_FILES = {"inception": inception, "dinov2": dinov2, "lpips": lpips}


def missing(module: ModuleType, given: Path | None = None) -> str:
    with pytest.raises(Mistake) as mistake:
        module.weights_file(given)
    return str(mistake.value)


@pytest.mark.parametrize("name", FROM_FILES)
def test_weights_are_looked_for_where_the_line_says_that_misses_them(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TOKENIZER_WEIGHTS", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    module = FROM_FILES[name]
    line = missing(module)
    expected = (
        *module.WEIGHTS.names,
        "in folder weights",
        module.WEIGHTS.upstream,
        "weights FILE",
        "TOKENIZER_WEIGHTS",
    )
    assert all(part in line for part in expected), line
    assert "\n" not in line
    assert not any(tmp_path.iterdir())

    places = [tmp_path / "weights", tmp_path / "elsewhere", *[tmp_path / "torch/hub/checkpoints"] * (name == "lpips")]
    for place in places:
        place.mkdir(parents=True, exist_ok=True)
        for file in module.WEIGHTS.names:
            (place / file).touch()
    first = module.WEIGHTS.names[0]
    assert module.weights_file() == Path("weights") / first
    monkeypatch.setenv("TOKENIZER_WEIGHTS", str(tmp_path / "elsewhere"))
    assert module.weights_file() == tmp_path / "elsewhere" / first
    monkeypatch.setenv("TOKENIZER_WEIGHTS", str(tmp_path / "nowhere"))
    if name == "lpips":
        assert module.weights_file() == tmp_path / "torch/hub/checkpoints" / first
    else:
        assert str(tmp_path / "nowhere") in missing(module)
    assert module.weights_file(tmp_path / "weights" / first) == tmp_path / "weights" / first
    line = missing(module, tmp_path / "typo.pth")
    assert str(tmp_path / "typo.pth") in line
    assert module.WEIGHTS.upstream in line
    assert "\n" not in line


class Code:
    """Unpickled, it makes a folder."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __reduce__(self) -> tuple[Callable, tuple[str]]:
        return os.mkdir, (str(self.folder),)


def truncated(path: Path, good: Path) -> None:
    path.write_bytes(good.read_bytes()[: good.stat().st_size // 2])


def text(path: Path, good: Path) -> None:
    path.write_text("<html>404</html>")


def empty(path: Path, good: Path) -> None:
    path.touch()


def code_in_torch_format(path: Path, good: Path) -> None:
    torch.save({"weight": Code(path.parent / "ran")}, path)


def code_in_a_pickle(path: Path, good: Path) -> None:
    path.write_bytes(pickle.dumps(Code(path.parent / "ran")))


def a_list(path: Path, good: Path) -> None:
    torch.save([torch.zeros(2)], path)


def other_keys(path: Path, good: Path) -> None:
    torch.save({f"module.{key}": x for key, x in tensors(good).items()}, path)


def other_shapes(path: Path, good: Path) -> None:
    torch.save({key: x.flatten()[:3].clone() for key, x in tensors(good).items()}, path)


def tensors(path: Path) -> dict[str, Tensor]:
    return dinov2.WEIGHTS.read(path)


@pytest.mark.parametrize("name", FROM_FILES)
@pytest.mark.parametrize(
    "spoiled", [truncated, text, empty, code_in_torch_format, code_in_a_pickle, a_list, other_keys, other_shapes]
)
def test_weights_that_do_not_fit_are_a_mistake_of_one_line_and_run_nothing(name, spoiled, files, tmp_path):
    path = tmp_path / f"spoiled{files[name].suffix if spoiled in (truncated, text, empty) else '.pth'}"
    spoiled(path, files[name])
    with pytest.raises(Mistake) as mistake:
        load(name, path)
    line = str(mistake.value)
    assert line.startswith(f"{path} is not {FROM_FILES[name].WEIGHTS.upstream}")
    assert "\n" not in line
    assert len(line) < 250 + len(str(path)) + len(FROM_FILES[name].WEIGHTS.upstream)
    assert "weights_only" not in line  # torch's advice to run the code
    if spoiled is other_keys:
        assert "Missing key" in line
    assert not (tmp_path / "ran").exists()


def test_a_network_looks_at_no_side_that_it_was_not_made_for(files):
    with pytest.raises(Mistake, match="a side of 299 px, not 256 px"):
        inception.load(MACHINE, 256, files["inception"])
    with pytest.raises(Mistake, match="multiple of 14 px, not 256 px"):
        dinov2.load(MACHINE, 256, files["dinov2"])


def test_a_checksum_is_that_of_the_file_as_it_is_now(tmp_path, monkeypatch):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"one")
    assert short_checksum(path) == hashlib.sha256(b"one").hexdigest()[:12]
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", None)
        assert short_checksum(path) == hashlib.sha256(b"one").hexdigest()[:12]  # read once
    path.write_bytes(b"another")
    assert short_checksum(path) == hashlib.sha256(b"another").hexdigest()[:12]


@pytest.mark.parametrize("name", FROM_FILES)
def test_weights_are_the_published_ones_by_their_checksum_and_not_by_their_name(name, tmp_path):
    published = FROM_FILES[name].WEIGHTS
    assert len(published.sha256) >= 8
    path = tmp_path / published.names[0]
    path.write_text("random")
    digits = hashlib.sha256(b"random").hexdigest()
    assert published.other(path) == digits[:6]
    assert published.described(path) == f"other weights {digits[:12]}"
    known = dataclasses.replace(published, sha256=digits[:8])
    renamed = path.rename(tmp_path / "whatever.pth")
    assert known.other(renamed) == ""
    assert known.described(renamed) == f"weights {digits[:12]}"


def test_what_was_downloaded_from_the_hub_is_published(tmp_path, monkeypatch):
    """The hub names files by their checksums, so a file with another content is told."""
    monkeypatch.setattr(weight_files, "_hub_cache", lambda: str(tmp_path))
    digits = hashlib.sha256(b"downloaded").hexdigest()
    cached = tmp_path / "models--timm--vit_large_patch14_dinov2.lvd142m"
    (cached / "blobs").mkdir(parents=True)
    (cached / "snapshots/0123").mkdir(parents=True)
    (cached / "blobs" / digits).write_text("downloaded")
    link = cached / "snapshots/0123/model.safetensors"
    link.symlink_to(cached / "blobs" / digits)
    assert dinov2.WEIGHTS.other(link) == ""
    assert inception.WEIGHTS.other(link) == digits[:6]
    (cached / "blobs" / digits).write_text("replaced")
    assert dinov2.WEIGHTS.other(link) == hashlib.sha256(b"replaced").hexdigest()[:6]
    elsewhere = tmp_path / digits
    elsewhere.write_text("downloaded")
    assert dinov2.WEIGHTS.other(elsewhere) == digits[:6]


def test_a_checksum_in_a_name_is_that_of_the_content(files, tmp_path):
    content = files["lpips"].read_bytes()
    right = hashlib.sha256(content).hexdigest()[:8]
    for digits, fits in ((right, True), ("397923af", False)):
        path = tmp_path / f"vgg16-{digits}.pth"
        path.write_bytes(content)
        if fits:
            assert lpips.WEIGHTS.read(path)
        else:
            with pytest.raises(Mistake, match=f"its SHA-256 begins with {right}, not with 397923af as its name says"):
                lpips.WEIGHTS.read(path)
