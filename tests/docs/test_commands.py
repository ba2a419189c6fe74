"""Every command in the pages: its parser takes it, plans can be made, and what is cheap runs at `smoke`."""

from __future__ import annotations

import importlib
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness import cli
from harness.planning.request_log import remembered_requests
from harness.store.exchange import take
from harness.store.runs import Store
from tests import toy
from tests.commands.stores import filled, request_of
from tests.conftest import save_class
from tests.docs.pages import blocks, documents, text

# What a comment says of a command that no test runs.
NEEDS = (
    *("needs a GPU", "needs a cluster", "needs weights", "needs an extra", "needs an account"),
    *("takes minutes", "takes hours"),
)
INLINE = re.compile(r"`((?:python -m harness|tokenizer-harness )[^`]*)`")
PLANNED = ("harness.ablate", "harness.benchmark", "harness.everything", "harness.sweep")  # they take --dry-run
OF_STUDIES = (*PLANNED, "harness.cancel", "harness.report", "harness.status")  # they take --scale
WITHOUT_STORE = ("harness.__main__", "harness.bench", "harness.evaluate")
SCRIPTS = sorted((toy.ROOT / "docs/examples/python").glob("*.py"))
STUDY = toy.ROOT / "docs/examples/plugins/mask_kinds.py"
IMAGES = 80  # of a class: every tenth is held out, and metrics at `smoke` take 16
RESULTS = toy.ROOT / "reports/examples/table5-tiny/seed-0.jsonl"


def lines() -> list[str]:
    """Every line of a shell in the pages, once, with its comment."""
    found = [line.strip() for path in documents() for code in blocks(path, "sh") for line in code.splitlines()]
    return list(dict.fromkeys(found))


def words_of(line: str) -> list[str]:
    """The words of the last command of a line."""
    return shlex.split(line.rpartition(" && ")[2], comments=True)


def parsed(command: str) -> tuple[str, list[str]]:
    """The module and the arguments of a command; the module is empty if it is none of the project."""
    words = shlex.split(command)
    if words[0] == "tokenizer-harness":
        return "harness.__main__", words[1:]
    at = words.index("-m") + 1 if "-m" in words else 0
    module = {"harness": "harness.__main__"}.get(words[at], words[at])
    return (module if module.startswith("harness.") else ""), words[at + 1 :]


def commands() -> dict[str, bool]:
    """Every command of the project, and whether it is in a block and its comment says of nothing that it needs."""
    found: dict[str, bool] = {}
    for line in lines():
        runs = not any(needs in line for needs in NEEDS)
        command = shlex.join(words_of(line))
        found[command] = runs or found.get(command, False)
    for path in documents():
        for command in INLINE.findall(text(path)):
            found.setdefault(shlex.join(shlex.split(command)), False)
    return {command: runs for command, runs in found.items() if parsed(command)[0]}


COMMANDS = commands()
PLANS = [command for command, runs in COMMANDS.items() if runs and parsed(command)[0] in PLANNED]
OTHERS = [command for command, runs in COMMANDS.items() if runs and parsed(command)[0] not in PLANNED]


class Parsed(Exception):
    pass


@pytest.mark.parametrize("command", COMMANDS)
def test_the_parser_takes_every_command(command, monkeypatch):
    def parse(parser, arguments):
        _, unknown = parser.parse_known_args(arguments)
        assert not unknown
        raise Parsed

    monkeypatch.setattr(cli.Parser, "parse_args", parse)
    module, arguments = parsed(command)
    with pytest.raises((Parsed, SystemExit)) as end:  # --list and --version end the command
        importlib.import_module(module).main(given(arguments))
    assert end.type is Parsed or end.value.code in (None, 0)


def test_lines_are_those_of_the_project_or_of_known_programs():
    known = {".", "cp", "mkdocs", "mypy", "pip", "pre-commit", "pytest", ".ci/run", "ruff", "uv"}
    for line in lines():
        words = words_of(line)
        example = words[0] == "python" and words[1].startswith("docs/examples/python/")
        assert shlex.join(words) in COMMANDS or example or words[0] in known, line


def given(words: list[str], **values: str) -> list[str]:
    """The words with values for the names that stand for something, and paths of the repository."""
    filled = []
    for word in words:
        for place, value in values.items():
            word = re.sub(rf"(^|:){place}$", lambda found, value=value: found[1] + value, word)
        filled.append(str(toy.ROOT / word) if word.startswith(("docs/", "reports/")) else word)
    return filled


def run(module: str, words: list[str], runs: Path, out: Path) -> int:
    if module in OF_STUDIES and "--scale" not in words:
        words = [*words, "--scale", "smoke"]
    if module not in WITHOUT_STORE:
        words = [*words, "--runs", str(runs)]
    if module in OF_STUDIES and module != "harness.cancel":
        words = [*words, "--out", str(out)]
    try:
        return cli.code_of(importlib.import_module(module).main, words)
    except SystemExit as end:  # --list and --version
        return int(end.code or 0)


@pytest.mark.parametrize("command", PLANS)
def test_every_plan_can_be_made(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    module, words = parsed(command)
    if any(word.endswith(":PATH") for word in words):
        for name in ("cats", "dogs"):
            save_class(tmp_path / "pets" / name, IMAGES)
    if "ORIGINALS" in words:
        for name in ("originals", "reconstructions"):
            save_pictures(tmp_path / name)
    values = {name.upper(): str(tmp_path / name) for name in ("originals", "reconstructions")}
    words = given(words, PATH=str(tmp_path / "pets"), **values)
    dry = [] if "--dry-run" in words else ["--dry-run"]
    assert run(module, [*words, *dry], tmp_path / "runs", tmp_path / "out") == 0, capsys.readouterr().err
    assert not (tmp_path / "runs").exists() and not (tmp_path / "out").exists()


def test_the_tutorial_counts_stages(tmp_path, capsys):
    tutorial = (toy.ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
    words = ["table5", "--rows", "KL-VAE,mactok", "--dry-run"]
    assert run("harness.ablate", words, tmp_path / "none", tmp_path) == 0
    filled(tmp_path / "runs", request_of(("KL-VAE", "mactok")))
    assert run("harness.ablate", ["--study", str(STUDY), "--dry-run"], tmp_path / "runs", tmp_path) == 0
    counts = re.findall(r"\d+ of \d+ stages to run", capsys.readouterr().out)
    assert len(counts) == 2 and all(count in tutorial for count in counts)


def save_pictures(folder: Path) -> None:
    """Pictures of noise, of the size of `smoke`."""
    folder.mkdir()
    for i, picture in enumerate(np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), np.uint8)):
        Image.fromarray(picture).save(folder / f"{i}.png")


@pytest.fixture(scope="module")
def place(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store, which has a trained row and results of others, with pictures, and with a page."""
    folder = tmp_path_factory.mktemp("place")
    shutil.copytree(runs, folder / "runs")
    take([RESULTS], Store(folder / "runs"))
    save_pictures(folder / "pictures")
    (folder / "out").mkdir()
    (folder / "out/page.md").write_text("# A page\n\n## The answer\n\n- Yes.\n")
    return folder


@pytest.fixture(scope="module")
def values(place: Path) -> dict[str, str]:
    """What stands for the names in the commands."""
    store = Store(place / "runs")
    trained = [run for run in store.runs() if run.stage == "generation" and run.experiment()["seed"] == 0]
    a, b, *_ = (run.key for run in trained if (run.folder / "experiment.json").exists())
    own = next(run.key for run in trained if list(run.folder.glob("*.npz")))
    pictures = dict.fromkeys(("SAMPLES", "IMAGES", "PICTURES", "FOLDER"), str(place / "pictures"))
    page = remembered_requests(store)[0].page
    return pictures | {"A": a, "B": b, "ID": own, "PAGE": page, "FILE": str(RESULTS), "DIR": str(place / "written")}


@pytest.mark.parametrize("command", OTHERS)
def test_every_other_command_runs(command, place, values, monkeypatch, capsys):
    monkeypatch.chdir(place)
    shutil.rmtree(place / "written", ignore_errors=True)
    (place / "reports/out/pictures-latents.npy").unlink(missing_ok=True)
    module, words = parsed(command)
    code = run(module, given(words, **values), place / "runs", place / "out")
    captured = capsys.readouterr()
    assert code == 0 and captured.out, captured.out + captured.err


@pytest.mark.parametrize("example", SCRIPTS, ids=lambda path: path.stem)
def test_every_script_runs(example, place):
    of = RESULTS if example.stem == "read_text" else place / "runs"
    words = [sys.executable, str(example), str(of)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=toy.environment(toy.ROOT), cwd=place)
    assert done.returncode == 0 and done.stdout, done.stderr
