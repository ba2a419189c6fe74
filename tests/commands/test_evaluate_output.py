"""`python -m harness.evaluate` prints numbers with identities, and saves images and references."""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from harness import evaluate
from harness.data.image_sets import Npz
from harness.evaluation import scoring
from harness.evaluation.protocols import PROTOCOLS
from harness.networks.measures import inception
from tests.commands.evaluated import D, M, N, Numbers, asking, exit_of, npz, refused, scored, tensor, values
from tests.evaluation.test_frechet import by_eigenvalues

pytestmark = pytest.mark.usefixtures("empty_folder")


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


def identities(found: Numbers) -> dict[int, str]:
    """The ids, by their place in the table."""
    return {place: record["protocol_id"] for place, record in enumerate(found.values())}


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


def test_what_is_saved_is_told(sets, quick, small, capsys):
    words = [*asking(sets, "adm256"), "--fewer", "--quiet", "--save-npz", "a.npz", "--save-reference", "b.npz"]
    assert evaluate.main([*map(str, words)]) == 0
    told = ["images for ADM's evaluator: a.npz", "reference for ADM's evaluator: b.npz"]
    assert capsys.readouterr().out.splitlines()[-2:] == told


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


def test_features_by_other_weights_are_no_reference_for_adms_evaluator(sets, quick, small, capsys, monkeypatch):
    words = [*asking(sets, "adm256"), "--fewer", "--save-reference", "reference.npz"]
    words[words.index("--weights") + 1] = sets / "other.pth"
    line = refused(monkeypatch, capsys, *words)
    assert line.startswith("--save-reference writes statistics of Inception features: ")
    assert f"{sets / 'other.pth'} is not {inception.WEIGHTS.upstream}" in line
    assert quick.shown == []


@pytest.mark.parametrize("option", ["--save-npz", "--save-reference"])
def test_nothing_half_saved_stays_after_an_interruption(option, sets, quick, small, capsys, monkeypatch):
    words = [*asking(sets, "adm256"), "--fewer"]
    scored(capsys, *words)
    whole = Npz.batches

    def interrupted(them: Npz, count: int) -> Iterator[np.ndarray]:
        yield next(whole(them, 8))
        raise KeyboardInterrupt

    monkeypatch.setattr(Npz, "batches", interrupted)
    assert exit_of(monkeypatch, *words, option, "saved.npz") == 130
    assert [path.name for path in Path().iterdir()] == ["runs"]


@pytest.mark.parametrize("option", ["--save-npz", "--save-reference"])
def test_files_are_not_replaced(option, sets, quick, small, capsys, monkeypatch):
    Path("saved.npz").write_text("precious")
    line = refused(monkeypatch, capsys, *asking(sets, "adm256"), "--fewer", option, "saved.npz")
    assert line == "saved.npz exists already: choose another file, or remove it"
