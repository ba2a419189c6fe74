"""`python -m harness.evaluate` gives the numbers that other ways to compute them give."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path

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

from harness import evaluate
from harness.evaluation import frechet, protocols
from harness.evaluation.protocols import PROTOCOLS
from harness.networks import lpips
from harness.networks.measures import inception
from harness.networks.weight_files import short_checksum
from harness.system import plugins
from tests.commands.evaluated import SIDE, M, N, asking, crops, npz, refused, saved, scored, tensor, values
from tests.evaluation.judges import Images, Lite2
from tests.evaluation.test_frechet import by_eigenvalues
from tests.networks.random_weights import inception_file, vgg_file

pytestmark = pytest.mark.usefixtures("empty_folder")

LPIPS = lpips.load


# What protocols declare


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_metric_that_a_protocol_names_is_scored_and_no_other(name, quick, capsys, tmp_path):
    side, paired = PROTOCOLS[name].side or SIDE, PROTOCOLS[name].paired
    noise = np.random.default_rng(0).integers(0, 256, (44, 8, 8, 3), np.uint8).repeat(side // 8, 1).repeat(side // 8, 2)
    npz(tmp_path / "images.npz", noise[:20])
    npz(tmp_path / "originals.npz", noise[22 : 42 if paired else 44])
    for weights in ("weights.pth", "vgg.pth"):
        (tmp_path / weights).write_text(weights)
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
    protocol = protocols.protocol_called(name)
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


# ADM's protocol on Inception


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Random ones."""
    folder = tmp_path_factory.mktemp("weights")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return {"inception": inception_file(folder), "lpips": vgg_file(folder)}


@pytest.mark.slow
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
    digits = short_checksum(weights["inception"])
    network = f"(Inception, other weights {digits[:6]})"
    assert list(found) == [f"KD {network} (N = 8)", f"FD {network} (N = 8)", f"FD {network}∞ (N = 8)"]
    kernel, distance, _ = found.values()
    assert distance["value"] == pytest.approx(expected["frechet_inception_distance"], rel=1e-4)
    assert kernel["value"] == pytest.approx(expected["kernel_inception_distance_mean"], rel=1e-4)
    assert distance["protocol_id"].startswith(f"adm256-at-8-other-weights-{digits[:6]}-")
    text = distance["protocol"]
    for part in (inception.title, f"other weights {digits}", "299 px", "TensorFlow", "8 images"):
        assert part in text


@pytest.mark.parametrize("name", [name for name, protocol in PROTOCOLS.items() if protocol.network != "lite2"])
def test_no_number_by_other_weights_has_a_published_name(name, sets, quick, small, capsys):
    """Whatever the file is called, and also where no metric needs another number of images."""
    published = {"reference": "images.npz"} if PROTOCOLS[name].paired else {}
    words = [*map(str, asking(sets, name, **published)), "--fewer"]
    known = scored(capsys, *words)
    other, vgg = (short_checksum(sets / file)[:6] for file in ("other.pth", "weights.pth"))
    words[words.index("--weights") + 1] = str(sets / "other.pth")
    if "--lpips-weights" in words:
        words[words.index("--lpips-weights") + 1] = str(sets / "weights.pth")
    found = scored(capsys, *words)
    assert list(values(found).values()) == list(values(known).values())
    for (title, before), (now, record) in zip(known.items(), found.items(), strict=True):
        digits = {"PSNR": "", "SSIM": "", "LPIPS": vgg}.get(title.partition(" ")[0], other)
        assert (f", other weights {digits})" in now) == bool(digits), now
        assert not re.search(r"FID|\bIS\b|KID", now)
        ending = f"-other-weights-{digits}" if digits else ""
        assert record["protocol_id"][:-9] == before["protocol_id"][:-9] + ending
        assert "other weights " in record["protocol"]
        assert "other weights" not in before["protocol"]
    assert evaluate.main([*words, "--quiet"]) == 0
    printed = capsys.readouterr().out
    assert all(now in printed for now in found)
    assert not re.search(r"FID|\bIS\b|KID", printed)
    assert f"{name}: with other weights than the published ones." in printed


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
    digits = short_checksum(weights["lpips"])
    found = scored(capsys, *words, "--fewer")[f"LPIPS (VGG-16, other weights {digits[:6]}) (N = {M})"]
    images = np.load(reconstructions.with_suffix(".npz"))["arr_0"]
    assert found["value"] == pytest.approx(lpips_by_hand(tensor(images), tensor(originals), weights["lpips"]), rel=1e-4)
    assert found["value"] > 1e-3
    assert found["protocol"].startswith(f"{lpips.title}, other weights {digits}; ")


@pytest.mark.parametrize("what", ["name", "fewer", "more"])
def test_pairs_have_the_same_names_and_number(what, sets, quick, reconstructions, capsys, monkeypatch):
    if what == "name":
        (reconstructions / "007.bmp").rename(reconstructions / "seven.bmp")
        expected = f"names: {sets / 'originals/007.png'} has no partner in {reconstructions}, nor have 1 other"
    elif what == "fewer":
        (reconstructions / "045.bmp").unlink()
        expected = (
            f"compares files with the same names: {sets / 'originals/045.png'} has no partner in {reconstructions}"
        )
    else:
        shutil.copy(reconstructions / "045.bmp", reconstructions / "046.bmp")
        expected = f"{reconstructions / '046.bmp'} has no partner in {sets / 'originals'}"
    words = asking(sets, "rfid-val50k", reconstructions, "originals")
    assert expected in refused(monkeypatch, capsys, *words, "--fewer")


def test_pairs_without_names_are_as_many(sets, quick, small, capsys, monkeypatch):
    line = refused(monkeypatch, capsys, *asking(sets, "rfid-val50k"), "--fewer")
    assert f"compares pairs: {N} images and {M} originals" in line
    line = refused(monkeypatch, capsys, *asking(sets, "rfid-val50k", "images", "originals.npz"), "--fewer")
    assert f"compares pairs: {N} images and {M} originals" in line


def test_pairs_of_a_folder_and_an_npz_are_in_natural_order(sets, quick, small, originals, tmp_path, capsys):
    """Folders whose names lack zeros come in the order of an npz; a wrong order is told."""
    (tmp_path / "copies").mkdir()
    for i, image in enumerate(originals):
        Image.fromarray(image).save(tmp_path / f"copies/{i}.png")
    words = [
        *map(str, asking(sets, "rfid-val50k", tmp_path / "copies", "originals.npz")),
        "--fewer",
        "--json",
        "--quiet",
    ]
    assert evaluate.main(words) == 0
    out, errors = capsys.readouterr()
    assert errors == ""
    (psnr,) = (record for record in json.loads(out) if record["metric"].startswith("PSNR"))
    assert psnr["value"] > 90
    assert psnr["protocol"].endswith("; paired by position")
    assert psnr["protocol_id"].startswith(f"rfid-val50k-at-{M}-other-images-")
    npz(tmp_path / "turned.npz", originals[::-1])
    words[0] = str(tmp_path / "turned.npz")
    assert evaluate.main(words) == 0
    assert "warning: 100% of the images resemble the original at another position" in capsys.readouterr().err
    npz(tmp_path / "grey.npz", np.full_like(originals, 128))
    words[0] = str(tmp_path / "grey.npz")
    assert evaluate.main(words) == 0
    assert "warning" not in capsys.readouterr().err


def test_lossy_formats_are_recorded_and_told_where_they_differ(sets, quick, small, tmp_path, capsys):
    folder = tmp_path / "lossy"
    folder.mkdir()
    for path in (sets / "images").iterdir():
        with Image.open(path) as image:
            image.convert("RGB").save(folder / f"{path.stem}.jpg")
    words = [*map(str, asking(sets, "adm256", folder, "originals")), "--fewer", "--json", "--quiet"]
    assert evaluate.main(words) == 0
    out, errors = capsys.readouterr()
    note = "note: the images are JPEG files, the reference PNG; lossy compression alone changes the distances\n"
    assert errors == note
    assert f"; {N} JPEG images; " in json.loads(out)[0]["protocol"]
