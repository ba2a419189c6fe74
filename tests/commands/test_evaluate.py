"""`python -m harness.evaluate`: its numbers against other ways to compute them, what they are called, and mistakes.

Where the network does not matter, its place is taken by one that is quick.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lpips as lpips_package
import numpy as np
import pytest
import torch
import torch_fidelity
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor
from torch.nn import functional
from torchvision.models import vgg

from harness import cli, evaluate
from harness.data.image_sets import Npz, open_images
from harness.evaluation import feature_cache, fidelity, frechet, protocols, scoring
from harness.evaluation.protocols import PROTOCOLS
from harness.networks import lpips
from harness.networks.frozen import Outputs
from harness.networks.measures import dinov2, inception, lite2
from harness.networks.weight_files import VGG, short_checksum
from harness.system import plugins
from harness.system.machine import Machine
from tests.commands.test_cli import command
from tests.conftest import photograph
from tests.evaluation.test_fidelity import Images, Lite2, peak
from tests.evaluation.test_frechet import by_eigenvalues
from tests.networks.test_measures import inception_file, vgg_file

MACHINE = Machine("cpu", "float32", 1)
N, M, SIDE = 40, 46, 32  # images, those of the reference, pixels
D, SPATIAL, CLASSES = 12, 6, 10  # of the quick network
MEASURES = {"inception": inception, "dinov2": dinov2, "lite2": lite2}
LPIPS = lpips.load
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


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return crops(N, left=200, contrast=0.7)


@pytest.fixture(scope="module")
def originals() -> np.ndarray:
    return crops(M)


@pytest.fixture(scope="module")
def sets(images: np.ndarray, originals: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both as folders and as npz files, and small files in place of weights."""
    place = tmp_path_factory.mktemp("sets")
    for name, pixels in (("images", images), ("originals", originals)):
        saved(place / name, pixels)
        npz(place / f"{name}.npz", pixels)
    for name in ("weights.pth", "other.pth", "vgg.pth"):
        (place / name).write_text(name)
    return place


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to be in."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("TOKENIZER_WEIGHTS", str(tmp_path / "no weights"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "no cache"))
    return tmp_path / "here"


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


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Quick:
    """In the place of every network, and the mean difference of pixels in that of LPIPS."""
    network = Quick()
    for measure in MEASURES.values():
        monkeypatch.setattr(measure, "load", lambda machine, side=None, weights=None, **_: network)
        monkeypatch.setattr(measure, "features", D)
        monkeypatch.setattr(measure, "spatial", SPATIAL)
    monkeypatch.setattr(lpips, "load", lambda machine, weights=None: difference)
    return network


def difference(images: Tensor, others: Tensor) -> Tensor:
    return (images.float() - others.float()).abs().mean((1, 2, 3))


def asking(
    sets: Path, protocol: str, images: object = "images.npz", reference: object = "originals.npz"
) -> list[object]:
    """The words for a protocol on the quick network."""
    network, words = PROTOCOLS[protocol].network, [sets / str(images), "--reference", sets / str(reference)]
    words += ["--protocol", protocol, *(["--weights", sets / "weights.pth"] if network != "lite2" else [])]
    return words + (["--lpips-weights", sets / "vgg.pth"] if "lpips" in PROTOCOLS[protocol].titles else [])


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protocols that take images of `SIDE` pixels, so that tests need not write large ones."""
    for name, protocol in PROTOCOLS.items():
        if protocol.side:
            monkeypatch.setitem(PROTOCOLS, name, dataclasses.replace(protocol, side=SIDE))


# What protocols declare


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_metric_that_a_protocol_names_is_scored_and_no_other(name, quick, capsys, tmp_path):
    side, paired = PROTOCOLS[name].side or SIDE, PROTOCOLS[name].paired
    noise = np.random.default_rng(0).integers(0, 256, (44, 8, 8, 3), np.uint8).repeat(side // 8, 1).repeat(side // 8, 2)
    npz(tmp_path / "images.npz", noise[:20])
    npz(tmp_path / "originals.npz", noise[22 : 42 if paired else 44])
    for weights in ("weights.pth", "vgg.pth"):
        (tmp_path / weights).touch()
    found = scored(capsys, *asking(tmp_path, name), *["--fewer"] * (PROTOCOLS[name].images is not None))
    ending = " (N = 20)" if PROTOCOLS[name].images else ""
    titles = PROTOCOLS[name].titles
    assert set(found) == {title + ending for title in [*titles.values(), titles["fd"] + "∞"]}
    assert next(iter(found)) == titles["kd"] + ending
    assert {record["n"] for record in found.values()} == {20}
    assert all(np.isfinite(value) for value in values(found).values())


def test_only_inception_has_a_fid():
    ours = {name: protocol for name, protocol in PROTOCOLS.items() if "FID" in "".join(protocol.titles.values())}
    assert {protocol.network for protocol in ours.values()} == {"inception"}
    assert set(ours) == {"adm256", "adm512", "rfid-val50k"}
    others = {
        title
        for protocol in PROTOCOLS.values()
        if protocol.network != "inception"
        for title in protocol.titles.values()
    }
    assert not others & {"IS", "KID", "sFID", "precision", "recall"}
    for name in plugins.names("harness.evaluation.metrics"):
        metric = plugins.load("harness.evaluation.metrics", name, "metric")
        assert "FID" not in metric.title


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_protocol_says_what_it_takes(name):
    protocol = protocols.protocol(name)
    assert protocol.network in plugins.names("harness.networks.measures")
    assert protocol.about and protocol.reference
    assert "\n" not in protocol.about + protocol.reference
    assert len(set(protocol.titles.values())) == len(protocol.titles)
    measure = plugins.load("harness.networks.measures", protocol.network, "measure")
    assert (protocol.px is None) != (measure.default_px is None)
    if protocol.network == "inception":
        assert protocol.images == 50_000


# The numbers of `lite`


@pytest.fixture(scope="module")
def by_torch_fidelity(images: np.ndarray, originals: np.ndarray) -> dict[str, float]:
    """Its front door on timm's own forward pass."""
    return torch_fidelity.calculate_metrics(
        input1=Images(tensor(images)),
        input2=Images(tensor(originals)),
        feature_extractor="lite2-of-the-tests",
        fid=True,
        isc=True,
        prc=True,
        kid=True,
        kid_subsets=100,
        kid_subset_size=N // 2,
        cuda=False,
        verbose=False,
        save_cpu_ram=True,  # no worker processes
    )


def test_lite_gives_the_numbers_of_torch_fidelity(sets, images, originals, by_torch_fidelity, capsys):
    found = scored(capsys, sets / "images", "--reference", sets / "originals")
    expected = {
        "KD (Lite2)": "kernel_inception_distance_mean",
        "FD (Lite2)": "frechet_inception_distance",
        "Lite2 score": "inception_score_mean",
        "precision (Lite2)": "precision",
        "recall (Lite2)": "recall",
    }
    assert set(found) == {*expected, "FD (Lite2)∞"}
    for name, key in expected.items():
        assert found[name]["value"] == pytest.approx(by_torch_fidelity[key], rel=1e-3), name
    for name, key in (("KD (Lite2)", "kernel_inception_distance_std"), ("Lite2 score", "inception_score_std")):
        assert found[name]["deviation"] == pytest.approx(by_torch_fidelity[key], rel=1e-3)
    assert 0 < found["precision (Lite2)"]["value"] < 1
    with torch.no_grad():
        see = Lite2("lite2-of-the-tests", ["features"])
        (of_images,), (of_originals,) = see(tensor(images)), see(tensor(originals))
    infinite = frechet.infinite(of_images, frechet.FeatureMoments.of(of_originals).gaussian)
    assert found["FD (Lite2)∞"]["value"] == pytest.approx(infinite.value, rel=1e-3)
    assert found["FD (Lite2)∞"]["interval"] == pytest.approx(infinite.interval, rel=1e-3)


def test_a_folder_and_an_npz_give_the_same_numbers(sets, quick, capsys):
    found = scored(capsys, *asking(sets, "lite", "images", "originals.npz"))
    assert scored(capsys, *asking(sets, "lite", "images.npz", "originals.npz")) == found
    assert values(scored(capsys, *asking(sets, "lite", "images.npz", "originals"))) == values(found)
    assert values(scored(capsys, *asking(sets, "lite", "originals", "images"))) != values(found)


def test_a_reference_of_other_sizes_is_cropped(sets, quick, capsys, originals, tmp_path):
    """A pair of white bars beside every image is what a centre crop cuts off."""
    saved(tmp_path / "wider", np.pad(originals, ((0, 0), (0, 0), (8, 8), (0, 0)), constant_values=255))
    found = scored(capsys, *asking(sets, "lite", "images", tmp_path / "wider"))
    assert values(found) == values(scored(capsys, *asking(sets, "lite")))
    assert "centre crop" in found["FD (Lite2)"]["protocol"]


# Looking once


def stored(runs: Path = Path("runs")) -> list[Path]:
    return sorted((runs / feature_cache.FOLDER).iterdir())


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
    abouts = {json.loads((folder / "about.json").read_text())["images"]: folder for folder in stored()}
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


# What is printed


def test_the_table_tells_how_many_images_every_number_rests_on(sets, quick, small, capsys):
    words = [*map(str, asking(sets, "adm256")), "--fewer", "--quiet", "--how", "balanced labels, ode, 50 steps"]
    assert evaluate.main(words) == 0
    out, errors = capsys.readouterr()
    assert errors == ""
    records = scored(capsys, *words)
    lines = out.splitlines()
    rows = lines[2 : 2 + len(records)]
    assert re.split(r"  +", lines[0].strip()) == ["metric", "value", "N", "protocol"]
    for row, (name, record) in zip(rows, records.items(), strict=True):
        better = "↓" if "ID" in name else "↑"
        metric, value, n, identity = re.split(r"  +", row.strip())
        assert (metric, n, identity) == (f"{name} {better}", str(N), record["protocol_id"])
        assert float(value.split()[0]) == pytest.approx(record["value"], abs=0.006)
        assert ("±" in value, "[" in value) == (record["deviation"] is not None, record["interval"] is not None)
    assert rows[0].startswith(f"KID (N = {N})")
    assert "Below 10,000 images the kernel distance comes first, as it has no bias." in lines
    common = next(line for line in lines if line.startswith("- All: "))
    assert f"{N} images; reference: {M} images of originals.npz" in common
    assert "balanced labels, ode, 50 steps" in common
    for name, record in records.items():  # all of a protocol is there, in two parts
        own = (
            next((line for line in lines if line.startswith(f"- {name}: ")), "").removeprefix(f"- {name}: ").rstrip(".")
        )
        assert record["protocol"].startswith(own)
        assert record["protocol"].endswith(common.removeprefix("- All: ").rstrip("."))


def test_a_number_of_as_many_images_as_the_protocol_takes_has_its_name(sets, quick, small, capsys, monkeypatch):
    monkeypatch.setitem(PROTOCOLS, "adm256", dataclasses.replace(PROTOCOLS["adm256"], images=N))
    found = scored(capsys, *asking(sets, "adm256"))
    assert set(found) == {*PROTOCOLS["adm256"].titles.values(), "FID∞"}
    assert set(scored(capsys, *asking(sets, "adm256"), "--fewer")) == set(found)


def test_of_many_images_the_kernel_distance_does_not_lead_and_nothing_is_extrapolated(sets, quick, capsys, monkeypatch):
    monkeypatch.setattr(scoring, "SMALL", N)
    found = scored(capsys, *asking(sets, "lite"))
    assert next(iter(found)) == "FD (Lite2)"
    assert set(found) == set(PROTOCOLS["lite"].titles.values())
    evaluate.main([*map(str, asking(sets, "lite")), "--quiet"])
    assert "comes first" not in capsys.readouterr().out


# Identities


def identities(found: Numbers) -> dict[str, str]:
    return {re.sub(r" \(N = .*\)", "", name): record["protocol_id"] for name, record in found.items()}


def test_numbers_of_the_same_protocol_share_its_id_whatever_the_images(sets, quick, small, capsys, tmp_path, images):
    words = [*asking(sets, "adm256"), "--fewer"]
    first = identities(scored(capsys, *words))
    assert len(set(first.values())) == len(first)
    assert all(re.fullmatch(r"adm256-at-\d+-[0-9a-f]{8}", one) for one in first.values())
    assert identities(scored(capsys, *words)) == first
    npz(tmp_path / "others.npz", images[::-1])
    same_weights = shutil.copy(sets / "weights.pth", tmp_path / "copy.pth")
    words[0] = tmp_path / "others.npz"
    words = [same_weights if word == sets / "weights.pth" else word for word in words]
    assert identities(scored(capsys, *words, "--runs", "others")) == first


def test_whatever_else_differs_shows_in_the_id(sets, quick, small, capsys, tmp_path, images, originals, monkeypatch):
    words = [*asking(sets, "adm256"), "--fewer"]
    changed = originals.copy()
    changed[-1, 0, 0] ^= 1
    swapped = {
        "weights": (sets / "weights.pth", sets / "other.pth"),
        "N": (words[0], npz(tmp_path / "fewer.npz", images[:-1])),
        "reference": (words[2], npz(tmp_path / "other.npz", originals[:-1])),
        "content of the reference": (words[2], npz(tmp_path / "originals.npz", changed)),
    }
    found = {"as asked": scored(capsys, *words)}
    for what, (one, another) in swapped.items():
        found[what] = scored(capsys, *[another if word == one else word for word in words])
    found["how"] = scored(capsys, *words, "--how", "by hand")
    found["protocol"] = scored(capsys, *asking(sets, "adm512"), "--fewer")
    monkeypatch.setattr(inception, "resizing", "nearest")
    found["resizing"] = scored(capsys, *words)
    names = identities(found["as asked"]).keys()
    for name in names:
        of_all = [identities(one)[name].partition("-")[2] for what, one in found.items() if what != "protocol"]
        assert len(set(of_all)) == len(of_all), name
        assert identities(found["protocol"])[name].startswith("adm512-")


def test_what_was_not_said_of_the_images_is_said_to_be_missing(sets, quick, capsys):
    assert evaluate.UNSAID in scored(capsys, *asking(sets, "lite"))["FD (Lite2)"]["protocol"]


# What is saved


def test_a_saved_npz_is_scored_as_its_images(sets, quick, capsys, images):
    first = scored(capsys, *asking(sets, "lite", "images"), "--save-npz", "images.npz")
    assert list(np.load("images.npz")) == ["arr_0"]
    np.testing.assert_array_equal(np.load("images.npz")["arr_0"], images)
    assert scored(capsys, *asking(sets, "lite", Path("images.npz").absolute())) == first


def test_a_saved_reference_stands_for_its_images(sets, quick, small, capsys, originals):
    words = [*asking(sets, "adm256", "images", "originals"), "--fewer"]
    first = scored(capsys, *words)
    scored(capsys, *asking(sets, "adm256", "originals", "images"), "--fewer", "--save-reference", "reference.npz")
    with np.load("reference.npz") as stored:
        assert set(stored) == {"arr_0", "mu", "sigma", "mu_s", "sigma_s"}
        np.testing.assert_array_equal(stored["arr_0"], originals)
        assert all(stored[name].dtype == np.float64 for name in stored if name != "arr_0")
        seen = quick.see(tensor(originals))
        for name, of in (("", "features"), ("_s", "spatial")):
            x = seen[of].double().numpy()
            np.testing.assert_allclose(stored[f"mu{name}"], x.mean(0), rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(stored[f"sigma{name}"], np.cov(x, rowvar=False), rtol=1e-5, atol=1e-6)
        of_statistics = {name: stored[name] for name in stored if name != "arr_0"}
    quick.shown.clear()
    words[2] = Path("reference.npz").absolute()
    again = scored(capsys, *words)
    assert values(again) == pytest.approx(values(first), rel=1e-9)
    assert sum(quick.shown) == M  # of an npz with more in it

    np.savez("statistics.npz", **of_statistics)
    words[2] = Path("statistics.npz").absolute()
    alone = scored(capsys, *words)
    without_images = ["KID", "precision", "recall"]  # which statistics say nothing of
    assert set(first) - set(alone) == {f"{name} (N = {N})" for name in without_images}
    assert values(alone) == pytest.approx({name: first[name]["value"] for name in alone}, rel=1e-9)
    assert "reference: statistics of statistics.npz" in alone[f"FID (N = {N})"]["protocol"]
    evaluate.main([*map(str, words), "--quiet"])
    assert "comes first" not in capsys.readouterr().out

    np.savez("pooled.npz", **{name: of_statistics[name] for name in ("mu", "sigma")})
    words[2] = Path("pooled.npz").absolute()
    assert set(alone) - set(scored(capsys, *words)) == {f"sFID (N = {N})"}


def test_fid_and_sfid_are_distances_of_pooled_and_spatial_features(sets, quick, small, capsys, images, originals):
    found = scored(capsys, *asking(sets, "adm256"), "--fewer")
    seen = [quick.see(tensor(pixels)) for pixels in (images, originals)]
    for name, of in (("FID", "features"), ("sFID", "spatial")):
        assert found[f"{name} (N = {N})"]["value"] == pytest.approx(
            by_eigenvalues(*(one[of] for one in seen)), rel=1e-5
        )


def test_statistics_count_more_than_the_images_beside_them(sets, quick, small, capsys, originals, tmp_path):
    """Those of ADM are of the train set, its images a part of that."""
    mean, covariance = np.ones(D), 2 * np.eye(D)
    reference = npz(tmp_path / "reference.npz", originals, mu=mean, sigma=covariance)
    found = scored(capsys, *asking(sets, "adm256", "images", reference), "--fewer")
    x = quick.see(tensor(np.load(sets / "images.npz")["arr_0"]))["features"].double().numpy()
    overlap = np.sqrt(2 * np.linalg.eigvalsh(np.cov(x, rowvar=False)).clip(0)).sum()
    expected = ((x.mean(0) - mean) ** 2).sum() + np.cov(x, rowvar=False).trace() + 2 * D - 2 * overlap
    assert found[f"FID (N = {N})"]["value"] == pytest.approx(expected, rel=1e-6)
    without = scored(capsys, *asking(sets, "adm256"), "--fewer")
    for name in ("KID", "precision", "recall"):
        assert found[f"{name} (N = {N})"]["value"] == without[f"{name} (N = {N})"]["value"]


# ADM's protocol on Inception


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Random ones."""
    folder = tmp_path_factory.mktemp("weights")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return {"inception": inception_file(folder), "lpips": vgg_file(folder)}


def test_fid_by_the_protocol_of_adm_is_that_of_torch_fidelity(weights, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(evaluate, "FEWEST", 8)
    adm = PROTOCOLS["adm256"]  # without sFID, whose matrices take time
    monkeypatch.setitem(PROTOCOLS, "adm256", dataclasses.replace(adm, titles={"fd": "FID", "kd": "KID"}))
    of_images, of_reference = crops(8, 256, 200, 0.7), crops(8, 256)
    npz(tmp_path / "images.npz", of_images)
    npz(tmp_path / "reference.npz", of_reference)
    words = [tmp_path / "images.npz", "--reference", tmp_path / "reference.npz", "--protocol", "adm256"]
    words += ["--weights", weights["inception"]]
    line = refused(monkeypatch, capsys, *words)
    assert "adm256 takes 50000 images" in line
    assert "holds 8; --fewer" in line

    found = scored(capsys, *words, "--fewer")
    expected = torch_fidelity.calculate_metrics(
        input1=Images(tensor(of_images)),
        input2=Images(tensor(of_reference)),
        feature_extractor_weights_path=weights["inception"],
        fid=True,
        kid=True,
        kid_subsets=100,
        kid_subset_size=4,
        cuda=False,
        verbose=False,
        save_cpu_ram=True,  # no worker processes
        cache=False,
    )
    assert list(found) == ["KID (N = 8)", "FID (N = 8)", "FID∞ (N = 8)"]
    assert found["FID (N = 8)"]["value"] == pytest.approx(expected["frechet_inception_distance"], rel=1e-4)
    assert found["KID (N = 8)"]["value"] == pytest.approx(expected["kernel_inception_distance_mean"], rel=1e-4)
    text = found["FID (N = 8)"]["protocol"]
    for part in (inception.title, short_checksum(weights["inception"]), "299 px", "TensorFlow", "8 images"):
        assert part in text


def test_no_name_says_50_000_images_where_there_are_fewer(sets, quick, small, capsys):
    for name in PROTOCOLS:
        paired = {"reference": "images.npz"} if PROTOCOLS[name].paired else {}
        found = scored(capsys, *asking(sets, name, **paired), *["--fewer"] * (PROTOCOLS[name].images is not None))
        for metric in found:
            assert not re.search("50k|50,?000", metric, re.IGNORECASE)
            assert PROTOCOLS[name].images is None or metric.endswith(f" (N = {N})")


# Reconstructions


@pytest.fixture
def reconstructions(small: None, originals: np.ndarray, tmp_path: Path) -> Path:
    """A folder of them as BMP, beside their originals as PNG."""
    noise = np.random.default_rng(0).normal(0, 12, originals.shape)
    images = (0.9 * originals + 10 + noise).clip(0, 255).round().astype(np.uint8)
    (tmp_path / "reconstructions").mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"reconstructions/{i:03d}.bmp")
    npz(tmp_path / "reconstructions.npz", images)
    return tmp_path / "reconstructions"


def test_reconstructions_are_compared_with_their_originals(sets, quick, reconstructions, originals, capsys):
    found = scored(capsys, *asking(sets, "rfid-val50k", reconstructions, "originals"), "--fewer")
    images = np.load(reconstructions.with_suffix(".npz"))["arr_0"]
    together = list(zip(images, originals, strict=True))
    expected = {
        "PSNR": np.mean([peak_signal_noise_ratio(a, b, data_range=255) for a, b in together]),
        "SSIM": np.mean(
            [
                structural_similarity(
                    a, b, channel_axis=2, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
                )
                for a, b in together
            ]
        ),
        "LPIPS": np.abs(images.astype(float) - originals).mean(),
        "rFID": by_eigenvalues(*(quick.see(tensor(pixels))["features"] for pixels in (images, originals))),
    }
    for name, value in expected.items():
        assert found[f"{name} (N = {M})"]["value"] == pytest.approx(value, rel=1e-5), name
    for name, way in (("PSNR", "8-bit RGB, per image"), ("SSIM", "scikit-image, Gaussian window")):
        assert found[f"{name} (N = {M})"]["protocol"].startswith(way)
    features = [quick.see(tensor(pixels))["features"] for pixels in (images, originals)]
    infinite = found[f"rFID∞ (N = {M})"]
    in_pairs, apart = (
        frechet.infinite(features[0], of) for of in (features[1], frechet.FeatureMoments.of(features[1]).gaussian)
    )
    assert (infinite["value"], *infinite["interval"]) == pytest.approx((in_pairs.value, *in_pairs.interval), rel=1e-3)
    assert infinite["value"] != pytest.approx(apart.value, rel=1e-3)
    as_npz = scored(capsys, *asking(sets, "rfid-val50k", reconstructions.with_suffix(".npz")), "--fewer")
    assert values(as_npz) == values(found)


@torch.no_grad()
def lpips_by_hand(images: Tensor, others: Tensor, weights: Path) -> float:
    """As in Zhang et al. (2018): unit vectors at five depths of VGG-16, their squared differences weighted."""
    state = torch.load(weights, weights_only=True)
    trunk = vgg.make_layers(vgg.cfgs["D"])
    trunk.load_state_dict({name.removeprefix("features."): x for name, x in state.items() if "features" in name})
    of_package = Path(lpips_package.__file__).parent / "weights/v0.1/vgg.pth"
    heads = list(torch.load(of_package, map_location="cpu", weights_only=True).values())
    mean, std = (torch.tensor(of)[:, None, None] for of in ((-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)))
    x = (torch.cat([images, others]).float() / 127.5 - 1 - mean) / std
    total = 0.0
    for place, layer in enumerate(trunk):
        x = layer(x)
        if place in (3, 8, 15, 22, 29):
            a, b = functional.normalize(x, eps=1e-10).chunk(2)
            total += functional.conv2d((a - b) ** 2, heads.pop(0)).mean().item()
    assert not heads
    return total


def test_lpips_is_that_of_its_authors(sets, weights, quick, reconstructions, originals, capsys, monkeypatch):
    monkeypatch.setattr(lpips, "load", LPIPS)
    words = asking(sets, "rfid-val50k", reconstructions, "originals")
    words[words.index("--lpips-weights") + 1] = weights["lpips"]
    found = scored(capsys, *words, "--fewer")[f"LPIPS (N = {M})"]
    images = np.load(reconstructions.with_suffix(".npz"))["arr_0"]
    assert found["value"] == pytest.approx(lpips_by_hand(tensor(images), tensor(originals), weights["lpips"]), rel=1e-4)
    assert found["value"] > 1e-3
    assert found["protocol"].startswith(f"{lpips.title}, weights {short_checksum(weights['lpips'])}; ")


@pytest.mark.parametrize("what", ["name", "fewer", "more"])
def test_pairs_have_the_same_names_and_number(what, sets, quick, reconstructions, capsys, monkeypatch):
    if what == "name":
        (reconstructions / "007.bmp").rename(reconstructions / "seven.bmp")
        expected = "compares files with the same names: 007 is in one of the two folders only"
    elif what == "fewer":
        (reconstructions / "045.bmp").unlink()
        expected = "045 is in one of the two folders only"
    else:
        shutil.copy(reconstructions / "045.bmp", reconstructions / "046.bmp")
        expected = "046 is in one of the two folders only"
    words = asking(sets, "rfid-val50k", reconstructions, "originals")
    assert expected in refused(monkeypatch, capsys, *words, "--fewer")


def test_pairs_without_names_are_as_many(sets, quick, small, capsys, monkeypatch):
    line = refused(monkeypatch, capsys, *asking(sets, "rfid-val50k"), "--fewer")
    assert f"compares pairs: {N} images and {M} originals" in line
    line = refused(monkeypatch, capsys, *asking(sets, "rfid-val50k", "images", "originals.npz"), "--fewer")
    assert f"compares pairs: {N} images and {M} originals" in line


# Mistakes


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
    "a damaged image": ("lite", "damaged", None, "020.png does not open as an image"),
    "a damaged image in the reference": ("lite", None, "damaged", "020.png does not open as an image"),
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
    assert f"adm256 takes {N - 1} images and {sets / 'images.npz'} holds {N}" in line
    assert "--fewer" not in line


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


@pytest.mark.parametrize("option", ["--save-npz", "--save-reference"])
def test_nothing_half_saved_stays_after_an_interruption(option, sets, quick, small, capsys, monkeypatch):
    words = [*asking(sets, "adm256"), "--fewer"]
    scored(capsys, *words)
    Path("saved.npz").write_text("precious")
    whole = Npz.batches

    def interrupted(them: Npz, count: int) -> Iterator[np.ndarray]:
        yield next(whole(them, 8))
        raise KeyboardInterrupt

    monkeypatch.setattr(Npz, "batches", interrupted)
    assert exit_of(monkeypatch, *words, option, "saved.npz") == 130
    assert Path("saved.npz").read_text() == "precious"
    assert sorted(path.name for path in Path().iterdir()) == ["runs", "saved.npz"]


def test_the_quick_network_stands_for_all_that_a_protocol_may_name():
    assert set(MEASURES) == set(plugins.names("harness.networks.measures"))
