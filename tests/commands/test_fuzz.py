"""Every option of every command with hostile values: a clear line, the right exit code, no file in a wrong place."""

from __future__ import annotations

import argparse
import importlib
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import cli
from harness.__main__ import COMMANDS
from tests.store.test_fuzz import ended

pytestmark = pytest.mark.slow

VALUES = [
    *("", " ", "-1", "0", "1.5", "1e400", "nan", "-inf", "9" * 40, "true", "abc", "NONE"),
    *("../x", "/dev/null/x", "/dev/null", "~nobody/x", "x" * 5000, "a/b/c/d", "*", "-", "--"),
    *(
        "a\nb",
        "\x1b[31m",
        "\udcff",
        "\N{GRINNING FACE}",
        "%s%n{}",
        "$(touch x)",
        "'; touch x; '",
        "a=b",
        "a:b",
        ",",
        "1,1",
    ),
]
PLAN = ["--scale", "smoke", "--rows", "mactok"]
# Words with which a command ends soon; commands that compute get an input that is missing.
WORDS = {
    "ablate": ["table5", *PLAN, "--dry-run"],
    "sweep": ["mask_ratio", "--scale", "smoke", "--dry-run"],
    "status": ["table5", *PLAN],
    "cancel": ["table5", *PLAN],
    "report": ["table5", *PLAN],
    "evaluate": ["absent", "--reference", "absent"],
    "claims": ["table5", "--scale", "smoke"],
    "generate": ["--run", "0123"],
    "reconstruct": ["absent", "--run", "0123"],
    "verify": ["va-vae", "--reference", "absent"],
    "convert": ["absent", "--from", "kl", "--to", "converted"],
    "publish": ["--run", "0123", "--out", "published"],
    "tokenize": ["absent", "--tokenizer", "0123"],
    "compare": ["0123", "4567"],
    "runs": [],
    "prune": [],
    "bench": ["absent"],
    "everything": ["--scale", "smoke", "--dry-run", "--rows", "mactok"],
    "benchmark": [*PLAN, "--rows", "mactok", "--dry-run"],
}


def options(command: str, monkeypatch: pytest.MonkeyPatch) -> list[argparse.Action]:
    """The options and positional arguments that a command takes."""
    seen: list[argparse.Action] = []

    def parse(parser: argparse.ArgumentParser, *_: object) -> None:
        seen.extend(parser._actions)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(cli.Parser, "parse_args", parse)
        with pytest.raises(KeyboardInterrupt):
            importlib.import_module(f"harness.{command}").main([])
    return [action for action in seen if action.nargs != 0 and not isinstance(action, argparse._HelpAction)]


def test_every_command_is_tried() -> None:
    assert {name.split()[0].removeprefix("harness.") for name in COMMANDS} == set(WORDS)


@pytest.fixture(scope="module")
def store(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    copy = tmp_path_factory.mktemp("fuzz") / "runs"
    shutil.copytree(runs, copy)
    yield copy


@pytest.mark.parametrize("command", WORDS)
def test_hostile_values(command: str, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    main = importlib.import_module(f"harness.{command}").main
    place = tmp_path / "deep/er"
    place.mkdir(parents=True)
    monkeypatch.chdir(place)
    before = sorted(path.relative_to(store) for path in store.rglob("*") if ".lock" not in path.name)
    dice = random.Random(command)
    for action in options(command, monkeypatch):
        for value in dice.sample(VALUES, 30):
            if command == "report" and action.dest == "out" and dice.random() < 0.8:
                continue  # a page takes seconds
            words = list(WORDS[command])
            if command not in ("bench", "convert") and action.dest != "runs":
                words += ["--runs", str(store)]
            if action.option_strings:
                words.append(f"{action.option_strings[0]}={value}")
            elif words and not words[0].startswith("-"):
                words[0] = value
            else:
                words.insert(0, value)
            code, said = ended(main, *words)
            assert code in (0, 1, 2), (words, said)
            assert "Traceback" not in said, (words, said)
            if code:
                assert said.strip(), words
    assert sorted(path.relative_to(store) for path in store.rglob("*") if ".lock" not in path.name) == before
    written = {path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*") if path.is_file()}
    assert written <= {"deep"}, written
