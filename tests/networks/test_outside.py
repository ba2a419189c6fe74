"""Tokenizers from outside: any object that encodes and decodes."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from harness.experiments.requests import AblationRequest, OutsideRow, new_request
from harness.experiments.scales import scale
from harness.experiments.stored_requests import request_from_json
from harness.networks import outside
from harness.planning.task import task
from harness.system.errors import Mistake, Trouble
from models.config import Outside
from tests.conftest import images

MINE = Path(__file__).with_name("mine.py")


def of(name: str) -> str:
    return f"{MINE}:{name}"


def wrapped(name: str, side: int | None = None) -> object:
    return outside.wrapped(Outside(on=True, source=of(name), side=side))


def test_latents_of_a_grid_and_numpy_arrays_are_taken():
    found = outside.seen(of("Pooled"), 32)
    assert found == (16, 3, 4, found.sha256, 7)
    x = images()
    tokenizer = wrapped("Pooled", side=4)
    z = tokenizer.encode(x).mean
    torch.testing.assert_close(z, torch.nn.functional.adaptive_avg_pool2d(x, 4).flatten(2).mT)
    torch.testing.assert_close(tokenizer.decode(z), torch.nn.functional.interpolate(z.mT.unflatten(2, (4, 4)), 32))


def test_an_argument_goes_to_what_makes_the_object():
    assert outside.seen(of("First"), 32)[:3] == (6, 2, None)
    assert outside.seen(of("First=3"), 32)[:3] == (6, 3, None)
    assert outside.seen(of("first"), 32)[:3] == (6, 4, None)  # an object, not a class


def test_it_decodes_in_float32_and_between_minus_1_and_1():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        x = wrapped("Loud").decode(torch.ones(2, 3, 4))
    assert x.dtype == torch.float32
    assert x.min() == -1 and x.max() == 1


BROKEN = {
    "Raises": "encode failed: RuntimeError: no luck",
    "Nothing": "AttributeError",
    "NoDecode": "it has no method decode",
    "Wrong": r"latents are \(2, 5\)",
    "NotFinite": "latents are not finite",
    "SmallImages": r"images are \(2, 3, 16, 16\) after decoding, not \(2, 3, 32, 32\)",
    "Text": "neither a torch tensor nor a NumPy array",
    "Oblong": "their grid has to be square",
}


@pytest.mark.parametrize("name", BROKEN)
def test_whatever_goes_wrong_in_it_is_one_line(name):
    with pytest.raises(Trouble, match=BROKEN[name]) as error:
        outside.seen(of(name), 32)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["Raises", "Exits", "Dies"])
def test_it_is_tried_in_a_process_of_its_own(name):
    with pytest.raises(Mistake) as error:
        outside.tried(of(name), 32)
    assert str(error.value).startswith("--tokenizer ") and "\n" not in str(error.value)


def test_what_it_prints_does_not_matter():
    assert outside.tried(of("Chatty"), 32)[:3] == (6, 4, None)


@pytest.mark.parametrize(
    ("source", "words"),
    [("absent.py:Name", "there is no file absent.py"), ("Name", "FILE.py:NAME"), ("mine.py:", "FILE.py:NAME")],
)
def test_a_source_that_is_none_is_refused(source, words):
    with pytest.raises(Mistake, match=words):
        outside.absolute(source)


# Installed packages


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package that offers two objects, for this process and those that it starts."""
    shutil.copy(MINE, tmp_path / "their_tokenizers.py")
    about = tmp_path / "theirs-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    points = "pooled = their_tokenizers:Pooled\nfirst = their_tokenizers:First\n"
    (about / "entry_points.txt").write_text(f"[{outside.ENTRY_POINTS}]\n{points}")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)


def test_an_installed_package_offers_tokenizers_by_name(package, tmp_path):
    assert outside.installed() == {"pooled": "their_tokenizers:Pooled", "first": "their_tokenizers:First"}
    assert outside.absolute("pooled") == "pooled"
    assert outside.absolute("first=3") == "first=3"
    assert outside.absolute(f"first={MINE}") == f"first={MINE}"
    found = outside.tried("pooled", 32)
    assert found[:3] == (16, 3, 4)
    assert found == outside.tried("their_tokenizers:Pooled", 32)  # with the same key
    assert outside.tried("first=3", 32)[:3] == (6, 3, None)
    assert outside.seen("pooled", 32) == found


def test_an_installed_tokenizer_is_a_row_of_its_name(package):
    row = OutsideRow("pooled", *outside.tried("pooled", 32))
    assert row.row.name == "pooled"
    assert OutsideRow("first=3", *outside.tried("first=3", 32)).row.name == "first=3"


def test_an_unknown_name_is_told_with_those_that_are_installed(package):
    with pytest.raises(Mistake, match=r"a name of an installed package \(pooled, first\) is needed"):
        outside.absolute("poled")


# Keys


def test_a_key_is_that_of_the_files_and_not_of_their_place(tmp_path):
    weights = tmp_path / "weights.bin"
    weights.write_bytes(b"1")
    shutil.copy(MINE, tmp_path / "mine.py")
    found = [outside.load(source)[1] for source in (of(f"First={weights}"), f"{tmp_path / 'mine.py'}:First={weights}")]
    assert found[0] == found[1] != outside.load(of("First"))[1]
    weights.write_bytes(b"2")
    assert outside.load(of(f"First={weights}"))[1] != found[0]
    with pytest.raises(Trouble, match="have changed since the request"):
        outside.wrapped(Outside(on=True, source=of(f"First={weights}"), sha256=found[0]))


def test_a_row_of_it_is_planned_remembered_and_has_one_key_for_all_seeds():
    rows = (OutsideRow(of("Pooled"), 16, 3, 4, "0" * 16, 7),)
    request = new_request("league", scale("smoke"), tokenizers=rows, seeds=2)
    assert isinstance(request, AblationRequest)
    by_row = {row.name: found for row, found in request.experiments().items()}
    one, two = by_row["mine.py:Pooled"]
    assert (one.latents, one.tokenizer_parameters) == ((16, 3, 4), 7)
    assert task("tokenizer", one).key == task("tokenizer", two).key
    assert task("generator", one).key != task("generator", two).key
    moved = new_request("league", scale("smoke"), tokenizers=(rows[0]._replace(source="/elsewhere/mine.py:Pooled"),))
    assert task("tokenizer", moved.experiments()[moved.study.rows[-1]][0]).key == task("tokenizer", one).key
    assert request_from_json(json.loads(json.dumps(request.to_json()))) == request
    assert request.page == moved.page != new_request("league", scale("smoke")).page
    assert request.command.endswith(f"--tokenizer {os.path.relpath(of('Pooled'))}")


def test_neither_torch_nor_the_object_is_needed_to_plan():
    row = OutsideRow("/nowhere.py:Name", 16, 3, 4, "0" * 16, 0)
    request = new_request("league", scale("paper256"), tokenizers=(row,))
    assert len(request.experiments()) == 5


def test_two_objects_of_one_file_have_two_keys_and_two_rows_two_names():
    assert outside.load(of("First"))[1] != outside.load(of("Pooled"))[1]
    row = OutsideRow(of("Pooled"), 16, 3, 4, "0" * 16, 0)
    with pytest.raises(Mistake, match=r"two rows are called mine\.py:Pooled"):
        new_request("league", scale("smoke"), tokenizers=(row, row._replace(source="/b/mine.py:Pooled")))
