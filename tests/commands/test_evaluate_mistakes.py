"""A mistake of whoever calls `python -m harness.evaluate` is one line."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.data.image_sets import open_images
from harness.evaluation import feature_cache
from harness.evaluation.protocols import PROTOCOLS
from harness.networks.measures import lite2
from harness.networks.weight_files import VGG, short_checksum
from harness.system import plugins
from tests.commands.evaluated import MEASURES, SPATIAL, D, N, asking, npz, refused, saved
from tests.commands.test_cli import command

pytestmark = pytest.mark.usefixtures("empty_folder")


def statistics(path: Path, d: int, spatial: int | None = None) -> Path:
    arrays = {"mu": np.zeros(d), "sigma": np.eye(d)}
    arrays |= {"mu_s": np.zeros(spatial), "sigma_s": np.eye(spatial)} if spatial else {}
    np.savez(path, **arrays)
    return path


@pytest.fixture
def broken(tmp_path: Path, images: np.ndarray, sets: Path) -> Path:
    """Sets with something wrong in each."""
    whole = (sets / "images.npz").read_bytes()
    (tmp_path / "whole.npz").write_bytes(whole)
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "flipped.npz").write_bytes(whole[:2000] + bytes([whole[2000] ^ 255]) + whole[2001:])
    (tmp_path / "text.npz").write_text("<html>404</html>")
    npz(tmp_path / "float.npz", images / np.float32(255))
    npz(tmp_path / "channels first.npz", images.transpose(0, 3, 1, 2))
    npz(tmp_path / "grey.npz", images[..., 0])
    npz(tmp_path / "few.npz", images[:15])
    npz(tmp_path / "none.npz", images[:0])
    npz(tmp_path / "smaller.npz", images[:, :24, :24])
    npz(tmp_path / "wide.npz", images[:, :24])
    np.savez(tmp_path / "named.npz", samples=images)
    statistics(tmp_path / "statistics.npz", D, SPATIAL)
    statistics(tmp_path / "other statistics.npz", D + 1)
    statistics(tmp_path / "other spatial.npz", D, SPATIAL + 1)
    saved(tmp_path / "sizes", images)
    Image.fromarray(images[0, :24]).save(tmp_path / "sizes/020.png")
    (tmp_path / "empty").mkdir()
    saved(tmp_path / "damaged", images)
    (tmp_path / "damaged/020.png").write_bytes((tmp_path / "damaged/020.png").read_bytes()[:300])
    return tmp_path


MISTAKES = {
    "images that are not there": ("lite", "nowhere", None, "nowhere is not there"),
    "an empty folder": ("lite", "empty", None, "no images in"),
    "a cut npz": ("lite", "cut.npz", None, "cut off"),
    "a damaged npz": ("lite", "flipped.npz", None, "is damaged or cut off"),
    "no npz": ("lite", "text.npz", None, "not an npz file"),
    "floating point": ("lite", "float.npz", None, "float32 (40, 32, 32, 3): uint8 (N, H, W, 3) is needed"),
    "channels first": ("lite", "channels first.npz", None, "uint8 (N, H, W, 3) is needed"),
    "grey": ("lite", "grey.npz", None, "uint8 (N, H, W, 3) is needed"),
    "another array": ("lite", "named.npz", None, "has samples: arr_0"),
    "no image": ("lite", "none.npz", None, "it has no images"),
    "too few": ("lite", "few.npz", None, "few.npz holds 15 images: at least 16"),
    "too few with --fewer": ("adm256", "few.npz", None, "at least 16 are needed"),
    "too few in the reference": ("lite", None, "few.npz", "few.npz holds 15 images: at least 16"),
    "not square": ("lite", "wide.npz", None, "32 x 24 px are not square"),
    "differing sizes": ("lite", "sizes", None, "020.png is 32 x 24 px, not 32 px"),
    "another size than the reference": ("lite", "smaller.npz", "whole.npz", "24 px are needed"),
    "another size than the protocol's": ("adm256", "smaller.npz", None, "32 px are needed"),
    "a damaged image": ("lite", "damaged", None, "020.png (damaged or cut off). Replace or remove it"),
    "a damaged image in the reference": ("lite", None, "damaged", "020.png (damaged or cut off). Replace or remove it"),
    "a damaged npz of the reference": ("lite", None, "flipped.npz", "is damaged or cut off"),
    "statistics as images": ("adm256", "statistics.npz", None, "IMAGES must be images to score"),
    "statistics for Lite2": ("lite", None, "statistics.npz", "Inception features: lite uses other features"),
    "statistics for DINOv2": ("fd-dinov2", None, "statistics.npz", "fd-dinov2 uses other features"),
    "statistics for pairs": ("rfid-val50k", None, "statistics.npz", f"{N} images and 0 originals"),
    "statistics of another network": ("adm256", None, "other statistics.npz", "has 13 values: Inception-v3"),
    "spatial statistics of another network": ("adm256", None, "other spatial.npz", "mu_s of"),
}
WHOLE_IMAGES = ("a damaged image in the reference", "a damaged npz of the reference")


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_no_file(case, sets, broken, quick, small, capsys, monkeypatch):
    protocol, images, reference, expected = MISTAKES[case]
    if case in WHOLE_IMAGES:  # what was seen of them stays
        identity = ["lite2", short_checksum(lite2.weights_file()), 64]
        feature_cache.look(open_images(sets / "images"), quick, identity, Path("runs"), True)
    words = asking(sets, protocol, broken / (images or sets / "images"), broken / (reference or sets / "originals"))
    assert expected in refused(monkeypatch, capsys, *words, *["--fewer"] * (PROTOCOLS[protocol].images is not None))


OTHER_MISTAKES = {
    "protocol": (["--protocol", "adm"], "unknown protocol 'adm'. Did you mean"),
    "all protocols": (["--protocol", "x"], f"Choices: {', '.join(PROTOCOLS)}"),
    "option": (["--protocl", "lite"], "Did you mean '--protocol'"),
    "weights of Lite2": (["--weights", "weights.pth"], "come with its package"),
    "saved nowhere": (["--save-npz", "nowhere/images.npz"], "nowhere does not exist"),
    "saved as a folder": (["--save-npz", "."], "is a folder"),
    "a reference of another network": (["--save-reference", "reference.npz"], "lite uses other features"),
}


@pytest.mark.parametrize("case", OTHER_MISTAKES)
def test_a_mistake_in_an_option_is_one_line(case, sets, quick, capsys, monkeypatch):
    words, expected = OTHER_MISTAKES[case]
    assert expected in refused(monkeypatch, capsys, *asking(sets, "lite")[:3], *words)
    assert quick.shown == []
    assert not any(Path().iterdir())


def test_help_is_given_without_torch():
    done = command("harness.evaluate", "--help", env={"PYTHONPROFILEIMPORTTIME": "1", "PATH": ""})
    assert done.returncode == 0
    assert all(name in done.stdout for name in PROTOCOLS)
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert not imported & {"torch", "timm", "numpy", "torch_fidelity", "lpips"}


def test_a_reference_has_to_be_given(sets, capsys, monkeypatch):
    assert "--reference" in refused(monkeypatch, capsys, sets / "images")


@pytest.mark.parametrize("name", [name for name, protocol in PROTOCOLS.items() if protocol.network != "lite2"])
def test_missing_weights_are_named_with_where_to_put_them(name, sets, small, capsys, monkeypatch, tmp_path):
    measure = plugins.load("harness.networks.measures", PROTOCOLS[name].network, "measure")
    paired = {"reference": "images"} if PROTOCOLS[name].paired else {}
    words = [word for word in asking(sets, name, "images", **paired) if word not in ("--weights", sets / "weights.pth")]
    line = refused(monkeypatch, capsys, *words, "--fewer")
    for part in (
        measure.WEIGHTS.of,
        measure.WEIGHTS.names[0],
        str(tmp_path / "no weights"),
        measure.WEIGHTS.upstream,
        "--weights FILE",
    ):
        assert part in line
    line = refused(monkeypatch, capsys, *words, "--fewer", "--weights", "typo.pth")
    assert "typo.pth is not a file" in line
    if PROTOCOLS[name].network == "inception":
        line = refused(monkeypatch, capsys, *words, "--fewer", "--weights", sets / "other.pth")
        assert "other.pth is not torch-fidelity's release file" in line
    if "lpips" in PROTOCOLS[name].titles:
        words = words[: words.index("--lpips-weights")]
        line = refused(monkeypatch, capsys, *words, "--fewer", "--weights", sets / "weights.pth")
        assert "LPIPS" in line
        assert VGG.names[0] in line
    assert not any(Path().iterdir())


def test_more_images_than_the_protocol_takes_are_not_scored(sets, quick, small, capsys, monkeypatch):
    monkeypatch.setitem(PROTOCOLS, "adm256", dataclasses.replace(PROTOCOLS["adm256"], images=N - 1))
    line = refused(monkeypatch, capsys, *asking(sets, "adm256"), "--fewer")
    assert f"adm256 takes {N - 1} images, {sets / 'images.npz'} holds {N}" in line
    assert "--fewer" not in line


def test_the_quick_network_stands_for_all_that_a_protocol_may_name():
    assert set(MEASURES) == set(plugins.names("harness.networks.measures"))
