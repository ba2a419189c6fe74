"""Whatever is in the files of a store: no command ends in a traceback, and nothing is written outside the store."""

from __future__ import annotations

import contextlib
import io
import json
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import claims, cli, compare, evaluate, prune, report, runs, status
from harness.system.files import read_json, write_json

pytestmark = pytest.mark.slow

REPORT = ["table5", "--scale", "smoke", "--rows", "mactok"]
HOSTILE: list[Any] = [
    None,
    [],
    {},
    "text",
    -1,
    10**40,
    float("nan"),
    [[[[]]]],
    {"a": {"b": None}},
    "\ud800",
    "../../outside",
    "a\nb|<b>$x_{$",
]


def ended(main: Callable[..., int], *words: object) -> tuple[int, str]:
    """The exit code of a command and what it printed. An error that is no clear line is raised."""
    out = io.StringIO()
    before, sys.argv = sys.argv, ["harness", *map(str, words)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            cli.run(main)
    except SystemExit as end:
        return int(end.code or 0), out.getvalue()
    finally:
        sys.argv = before
    raise AssertionError


def commands(store: Path, out: Path) -> dict[str, tuple[int, str]]:
    """Every command that reads a store."""
    keys = [path.name for path in sorted((store / "evaluation").iterdir()) if not path.name.startswith(".")]
    given = ["--runs", store]
    return {
        "status": ended(status.main, *given, "--json"),
        "status of a study": ended(status.main, *REPORT, *given),
        "runs": ended(runs.main, *given),
        "runs of a study": ended(runs.main, "table5", *given),
        "report": ended(report.main, *REPORT, *given, "--out", out),
        "claims": ended(claims.main, "table5", "--scale", "smoke", *given),
        "compare": ended(compare.main, keys[0], keys[0], *given),
        "prune": ended(prune.main, *given),
        "export": ended(runs.main, "table5", *given, "--export", out / "export"),
    }


def files(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def flip(path: Path, dice: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    path.write_bytes(content)


def truncate(path: Path, dice: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: dice.randrange(path.stat().st_size)])


def replace(path: Path, dice: random.Random) -> None:
    path.write_bytes(dice.choice([b"", b"\xff\xfe", b"{", b"[" * 100_000, b"null", bytes(100), b"text"]))


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The places in a JSON value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, below in inside for place in places(below, (*path, key)))]


def forge(path: Path, dice: random.Random) -> None:
    """Another value at some place, with the right checksum."""
    content = read_json(path)
    place = dice.choice(places(content))
    value, target = dice.choice(HOSTILE), content
    if not place:
        content = value
    else:
        for key in place[:-1]:
            target = target[key]
        if dice.random() < 0.2 and isinstance(target, dict):
            del target[place[-1]]
        else:
            target[place[-1]] = value
    write_json(path, content)


def is_json(path: Path) -> bool:
    return path.suffix == ".json" and path.name != "progress.json"


KINDS: dict[str, Callable[[Path, random.Random], None]] = {
    "flip": flip,
    "truncate": truncate,
    "replace": replace,
    "forge": forge,
}


@pytest.mark.parametrize("kind", KINDS)
def test_no_command_ends_in_a_traceback(kind: str, runs: Path, tmp_path: Path) -> None:
    dice = random.Random(kind)
    shutil.copytree(runs, tmp_path / "inside/store")
    store, out = tmp_path / "inside/store", tmp_path / "inside/out"
    small = sorted(path for path in files(store) if path.suffix in (".json", ".csv") and path.stat().st_size)
    for round_number in range(60 if kind == "forge" else 25):
        path = dice.choice([path for path in small if kind != "forge" or is_json(path)])
        before = path.read_bytes()
        if kind == "forge" and not isinstance(json.loads(before), dict):
            continue
        KINDS[kind](path, dice)
        for name, (code, said) in commands(store, out).items():
            assert code in (0, 1, 2), (name, path, round_number, said)
            assert "Traceback" not in said, (name, path, round_number, said)
        path.write_bytes(before)
        assert {entry.name for entry in tmp_path.iterdir()} == {"inside"}
        assert {entry.name for entry in (tmp_path / "inside").iterdir()} <= {"store", "out"}


@pytest.mark.parametrize("main", [status.main, runs.main, prune.main, claims.main, compare.main, evaluate.main])
def test_a_folder_that_is_no_store_is_a_mistake(main: Callable[..., int], tmp_path: Path) -> None:
    (tmp_path / "photos/2019").mkdir(parents=True)
    words = ("a", "b") if main is compare.main else ()
    if main is evaluate.main:
        pytest.skip("it makes a store")
    code, said = ended(main, *words, "--runs", tmp_path / "photos")
    assert (code == 2 and said.startswith("error: ") and "is no store" in said) or "no run" in said
