"""Tokenizers from outside: any object that encodes and decodes."""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from harness.experiments.outside_rows import OutsideRow, outside_rows
from harness.experiments.requests import AblationRequest, new_request
from harness.experiments.scales import scale
from harness.experiments.stored_requests import request_from_json
from harness.networks import outside
from harness.planning.task import task
from harness.system import plugins
from harness.system.errors import Mistake, Trouble
from models.config import Tokenizer
from tests.conftest import images

MINE = Path(__file__).with_name("mine.py")


def of(name: str) -> str:
    return f"{MINE}:{name}"


def configured(source: str, tokens: int, channels: int, side: int | None = None, sha256: str = "") -> Tokenizer:
    """The configuration of a tokenizer from outside whose latents have this form."""
    row = OutsideRow(source, tokens, channels, side, sha256, 0)
    request = new_request("league", scale("smoke"), tokenizers=(row,))
    return request.experiment(request.study.rows[-1]).tokenizer


def wrapped(source: str, tokens: int = 6, channels: int = 4, side: int | None = None) -> object:
    return outside.wrapped(configured(source, tokens, channels, side), 32)


def test_latents_of_a_grid_and_numpy_arrays_are_taken():
    found = outside.seen(of("Pooled"), 32)
    assert found == (16, 3, 4, found.sha256, 7)
    x = images()
    tokenizer = wrapped(of("Pooled"), 16, 3, side=4)
    z = tokenizer.encode(x).mean
    torch.testing.assert_close(z, torch.nn.functional.adaptive_avg_pool2d(x, 4).flatten(2).mT)
    torch.testing.assert_close(tokenizer.decode(z), torch.nn.functional.interpolate(z.mT.unflatten(2, (4, 4)), 32))


def test_an_argument_goes_to_what_makes_the_object():
    assert outside.seen(of("First"), 32)[:3] == (6, 2, None)
    assert outside.seen(of("First=3"), 32)[:3] == (6, 3, None)
    assert outside.seen(of("first"), 32)[:3] == (6, 4, None)  # an object, not a class


def test_it_decodes_in_float32_and_between_minus_1_and_1():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        x = wrapped(of("Loud"), 3, 4).decode(torch.ones(2, 3, 4))
    assert x.dtype == torch.float32
    assert x.min() == -1 and x.max() == 1


BROKEN = {
    "Raises": "encode failed: RuntimeError: no luck",
    "Nothing": "AttributeError",
    "NoDecode": "it has no method decode",
    "Wrong": r"latents are \(2, 5\)",
    "NotFinite": "latents are not finite",
    "SmallImages": r"images are \(2, 3, 16, 16\), not \(2, 3, 32, 32\)",
    "NoLatents": r"latents are \(2, 0, 4\)",
    "OneOfTwo": r"latents are \(1, 6, 4\)",
    "Complex": "latents are complex64: floating point is needed",
    "Bytes": "images are uint8: floating point is needed",
    "Pixels": r"decode failed: ValueError: images span \[\d.*\]: values in \[-1, 1\] are needed",
    "ManyTimes": r"images span \[-255, 255\]: values in \[-1, 1\] are needed",
    "NoNumbers": "images are not finite",
    "Leaves": "encode failed: SystemExit: 0",
    "Negative": "weights is -5",
    "Endless": "weights is 1000000000000000000",
    "OnePath": "files is one path: a list of paths is needed",
    "Needs": "loading it failed: TypeError",
    "Text": "neither a torch tensor nor a NumPy array",
    "Oblong": "their grid has to be square",
}


@pytest.mark.parametrize("name", BROKEN)
def test_whatever_goes_wrong_in_it_is_one_line(name):
    with pytest.raises(Trouble, match=BROKEN[name]) as error:
        outside.seen(of(name), 32)
    assert "\n" not in str(error.value)


def test_images_that_overshoot_their_range_are_taken():
    assert outside.seen(of("Overshoots"), 32)[:3] == (6, 2, None)


@pytest.mark.parametrize("name", ["Raises", "Exits", "Leaves", "Dies", "Asks"])
def test_it_is_tried_in_a_process_of_its_own(name):
    with pytest.raises(Mistake) as error:
        outside.tried(of(name), 32)
    assert str(error.value).startswith("--tokenizer ") and "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["Chatty", "LastWords", "Waits"])
def test_what_it_prints_and_does_at_its_end_does_not_matter(name):
    began = time.monotonic()
    assert outside.tried(of(name), 32)[:3] == (6, 4, None)
    assert time.monotonic() - began < 60


def test_what_it_prints_does_not_mix_with_the_output(capsys):
    wrapped(of("Chatty"))
    assert capsys.readouterr().out == ""


# What it does to others


def test_it_can_change_neither_our_images_nor_the_latents_that_it_gave():
    x = images()
    before, tokenizer = x.clone(), wrapped(of("InPlace"))
    z = tokenizer.encode(x).mean
    kept = z.clone()
    tokenizer.encode(x + 1)
    tokenizer.decode(z)
    assert x.equal(before) and z.equal(kept)


def settings() -> tuple[object, ...]:
    draws = torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()
    flags = torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled(), torch.get_num_threads()
    return *draws, *flags, torch.are_deterministic_algorithms_enabled(), os.getcwd(), [*sys.path]


def test_it_leaves_global_settings_and_draws_as_they_were():
    before = settings()
    tokenizer = wrapped(of("Meddles"))
    tokenizer.decode(tokenizer.encode(images()).mean)
    assert settings() == before


def test_equal_images_have_equal_latents_even_if_it_draws_them():
    x = images()
    one, two = wrapped(of("Draws")), wrapped(of("Draws"))
    z = one.encode(x).mean
    torch.rand(3)
    assert z.equal(one.encode(x).mean) and z.equal(two.encode(x).mean) and z.std() > 0.1


def test_later_latents_and_images_of_another_form_are_one_line():
    tokenizer = wrapped(of("Changes"))
    tokenizer.encode(images())
    for call, words in (
        (tokenizer.encode, r"latents are \(\d+, 5, 4\), not"),
        (tokenizer.decode, "images are not fin"),
    ):
        with pytest.raises(Trouble, match=words):
            call(images() if call == tokenizer.encode else torch.full((2, 6, 4), torch.nan))


# What lies beside it


def with_neighbours(folder: Path, value: float) -> str:
    """A tokenizer of constant images, which it imports from beside it, also late; the source."""
    (folder / "models").mkdir(parents=True)
    (folder / "models/__init__.py").write_text("")
    (folder / "models/vae.py").write_text(f"VALUE = {value}\n")
    (folder / "their_helper.py").write_text("def value():\n    from models.vae import VALUE\n    return VALUE\n")
    (folder / "mine.py").write_text(
        f"from their_helper import value\n{MINE.read_text()}\n"
        "class Constant(First):\n    def __init__(self): super().__init__('4')\n"
        "    def decode(self, z):\n        import their_helper\n        assert their_helper.value is value\n"
        "        return torch.full((len(z), 3, 32, 32), value())\n"
    )
    return f"{folder / 'mine.py'}:Constant"


def test_each_has_its_own_neighbours_and_ours_stay(tmp_path):
    import models

    sources = [with_neighbours(tmp_path / name, value) for name, value in (("a", 0.25), ("b", 0.5))]
    assert [outside.tried(source, 32)[:2] for source in sources] == [(6, 4), (6, 4)]
    one, two = map(wrapped, sources)
    for _ in range(2):
        assert one.decode(torch.zeros(2, 6, 4)).unique().tolist() == [0.25]
        assert two.decode(torch.zeros(2, 6, 4)).unique().tolist() == [0.5]
    assert sys.modules["models"] is models and "their_helper" not in sys.modules and "models.vae" not in sys.modules


def test_the_neighbour_of_a_plug_in_is_not_its_own(tmp_path):
    (tmp_path / "plugin").mkdir()
    (tmp_path / "plugin/their_helper.py").write_text("")
    (tmp_path / "plugin/mine.py").write_text("import their_helper\nvariants = {}\n")
    plugins.add(tmp_path / "plugin")
    plugins.find()
    of_plugin = sys.modules["their_helper"]
    decoded = wrapped(with_neighbours(tmp_path / "a", 0.25)).decode(torch.zeros(2, 6, 4))
    assert decoded.unique().tolist() == [0.25] and sys.modules.pop("their_helper") is of_plugin


def test_a_key_follows_what_it_imports_from_beside_it(tmp_path):
    source = with_neighbours(tmp_path / "a", 0.25)
    (tmp_path / "a/other.py").write_text("")
    before = outside.load(source).sha256
    (tmp_path / "a/other.py").write_text("# changed")
    assert outside.load(source).sha256 == before
    assert outside.load(with_neighbours(tmp_path / "b", 0.25)).sha256 == before
    (tmp_path / "a/models/vae.py").write_text("VALUE = 0.75\n")
    assert outside.load(source).sha256 != before


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (f"{MINE}/x.py:Name", "there is no file"),
        (f"{'x' * 5000}.py:Name", "there is no file"),
        (f"{MINE}:First.width", "FILE.py:NAME"),
        ("absent.py:Name", "there is no file absent.py"),
        ("Name", "FILE.py:NAME"),
        ("mine.py:", "FILE.py:NAME"),
    ],
)
def test_a_source_that_is_none_is_refused(source, words):
    with pytest.raises(Mistake, match=words):
        outside.absolute(source)


@pytest.mark.parametrize("folder", ["lr=3,wd=1", "a:b", "with.py:in it", "two\nlines"])
def test_a_path_may_hold_what_separates_parts(folder, tmp_path, monkeypatch):
    (tmp_path / folder).mkdir()
    shutil.copy(MINE, tmp_path / folder)
    for argument in ("", "=3", "=x.py:y=z"):
        source = f"{tmp_path / folder}/mine.py:First{argument}"
        assert outside.absolute(source) == source
        assert outside.seen(source, 32)[0] == 6
        monkeypatch.chdir(tmp_path)
        assert OutsideRow(source, 6, 4, None, "", 0).from_here == f"{folder}/mine.py:First{argument}"


def test_a_folder_and_a_name_of_the_hub_are_those_of_a_published_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("plain", "a:b", "lr=3"):
        Path(folder).mkdir()
        assert outside.absolute(folder) == f"{outside.PUBLISHED}={tmp_path / folder}"
    assert outside.absolute("owner/name") == f"{outside.PUBLISHED}=owner/name"


def test_a_folder_without_a_tokenizer_is_named_once(tmp_path):
    with pytest.raises(Mistake) as error:
        outside.tried(outside.absolute(str(tmp_path)), 32)
    why = f"{tmp_path} is no pretrained tokenizer: it has no config.json"
    assert str(error.value) == f"--tokenizer {outside.PUBLISHED}={tmp_path}: {why}"


FOLDERS = {
    "": "is no folder of diffusers: config.json does not name a class",
    "[1]": "is no folder of diffusers",
    "{": "is no folder of diffusers",
    '{"_class_name": "UNet2DModel"}': "class UNet2DModel, none of AutoencoderKL, AutoencoderDC, VQModel",
    '{"_class_name": "DiffusionPipeline"}': "class DiffusionPipeline, none of",
}


@pytest.mark.parametrize("content", FOLDERS)
def test_a_folder_of_diffusers_of_another_class_is_one_line(content, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", ModuleType("diffusers"))
    if content:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(Trouble, match=FOLDERS[content]) as error:
        outside.seen(f"harness.hub.outside:Diffusers={tmp_path}", 32)
    assert "\n" not in str(error.value)


def test_the_name_of_a_row_can_be_printed():
    assert named("/x/a|b <img src=x>`[l](u)$\n.py:Pooled") == ["a|b <img src=x>`[l](u)$\\n.py:Pooled"]


def named(*sources: str) -> list[str]:
    """The names of their rows."""
    return [row.name for row in outside_rows([OutsideRow(source, 6, 4, None, "", 0) for source in sources])]


def test_a_row_is_named_by_what_it_is_and_no_two_alike():
    assert named("/x/mine.py:Arrays=/data/train_images.npy") == ["mine.py:Arrays=train_images.npy"]
    assert named("theirs:First=3", "pooled", "first=a/b") == ["First=3", "pooled", "first=b"]
    assert named("of.one:First=/x/w", "of.two:First=/x/w") == ["of.one:First=w", "of.two:First=w"]
    ours = [f"{outside.PUBLISHED}={place}" for place in ("/runs/one/model/", "/runs/two/model", "them/titok")]
    assert named(*ours) == ["one/model", "two/model", "titok"]
    assert named("/a/mine.py:Pooled", "/b/mine.py:Pooled") == ["a/mine.py:Pooled", "b/mine.py:Pooled"]
    assert named("/x/m.py:F=/a/w", "/x/m.py:F=/b/w") == ["x/m.py:F=a/w", "x/m.py:F=b/w"]


@pytest.mark.parametrize("rows", [("KL-VAE",), ("autoencoder", "mine.py:Pooled"), ()])
def test_rows_that_are_named_leave_no_tokenizer_out(rows):
    added = OutsideRow(of("Pooled"), 16, 3, 4, "0" * 16, 7)
    request = new_request("table5", scale("smoke"), rows=rows, tokenizers=(added,))
    names = [row.name for row in request.experiments()]
    assert names[-1] == "mine.py:Pooled"
    assert set(rows) <= set(names) and len(names) == (len({*rows, "mine.py:Pooled"}) if rows else 8)


def test_an_argument_may_be_longer_than_a_path():
    source = of("First={" + "x" * 5000 + "}")
    assert outside.absolute(source) == source and outside.seen(source, 32)[:2] == (6, 4)


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
    assert named("pooled", "first=3") == ["pooled", "first=3"]


def test_an_unknown_name_is_told_with_those_that_are_installed(package):
    with pytest.raises(Mistake, match=r"a name of an installed package \(pooled, first\) is needed"):
        outside.absolute("poled")


# Keys


def test_a_key_is_that_of_the_files_and_not_of_their_place(tmp_path):
    weights = tmp_path / "weights.bin"
    weights.write_bytes(b"1")
    shutil.copy(MINE, tmp_path / "mine.py")
    found = [
        outside.load(source).sha256 for source in (of(f"First={weights}"), f"{tmp_path / 'mine.py'}:First={weights}")
    ]
    assert found[0] == found[1] != outside.load(of("First")).sha256
    weights.write_bytes(b"2")
    assert outside.load(of(f"First={weights}")).sha256 != found[0]
    with pytest.raises(Trouble, match="have changed since the request"):
        outside.wrapped(configured(of(f"First={weights}"), 6, 4, sha256=found[0]), 32)


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
    assert outside.load(of("First")).sha256 != outside.load(of("Pooled")).sha256
    row = OutsideRow(of("Pooled"), 16, 3, 4, "0" * 16, 0)
    request = new_request("league", scale("smoke"), tokenizers=(row, row._replace(source="/b/mine.py:Pooled")))
    assert [row.name for row in request.study.rows[-2:]] == ["networks/mine.py:Pooled", "b/mine.py:Pooled"]
    with pytest.raises(Mistake, match=r"--tokenizer names .*mine\.py:Pooled twice"):
        new_request("league", scale("smoke"), tokenizers=(row, row))
