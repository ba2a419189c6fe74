"""Commands in hostile surroundings: variables, locales, closed streams, a working folder that is gone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.system import surroundings
from harness.system.errors import Mistake
from harness.system.processes import leading, local_rank, world_size
from reports.figures import label

WRONG_THREADS = ["0", "-3", "1.5", "text", "1e3", "100000000000000000000", "\N{SUPERSCRIPT TWO}", "4097"]


@pytest.mark.parametrize("text", WRONG_THREADS)
def test_numbers_of_threads_without_sense_are_mistakes(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    with pytest.raises(Mistake, match="a number of threads from 1 to 4096"):
        surroundings.threads()


@pytest.mark.parametrize(("text", "expected"), [("", None), (" ", None), ("3", 3), ("4,2", 4), (" 2 ", 2)])
def test_numbers_of_threads(text: str, expected: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert surroundings.threads() == expected


VARIABLES = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
TORCHRUN = {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}


def surrounded(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"WORLD_SIZE": ""},
        {"RANK": "1"},
        {"RANK": "x", "LOCAL_RANK": "-1"},
        {"MASTER_ADDR": ""},
        {"WORLD_SIZE": "1", "RANK": "7"},
    ],
    ids=str,
)
def test_variables_of_torchrun_without_torchrun_have_no_influence(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    surrounded(monkeypatch, variables)
    assert (world_size(), leading(), local_rank()) == (1, True, 0)


@pytest.mark.parametrize(
    "changed",
    [
        *({"WORLD_SIZE": text} for text in ("0", "-1", "x", "1.5", "10000000000")),
        *({"RANK": text} for text in ("", "2", "-1", "x")),
        {"MASTER_ADDR": ""},
        {"MASTER_PORT": ""},
        {"MASTER_PORT": "99999"},
    ],
    ids=str,
)
def test_incomplete_variables_of_torchrun_are_mistakes(
    changed: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    surrounded(monkeypatch, TORCHRUN | changed)
    with pytest.raises(Mistake, match=f"^(no )?{next(iter(changed))}|without {next(iter(changed))}"):
        leading()


def test_torchrun_is_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    surrounded(monkeypatch, TORCHRUN)
    assert (world_size(), leading(), local_rank()) == (2, False, 1)


def done(words: str, folder: Path, redirect: str = "", **variables: str) -> subprocess.CompletedProcess[bytes]:
    """A command in a shell, in `folder`."""
    line = f"exec {sys.executable} -m {words} {redirect}"
    root = str(Path(__file__).parents[2])
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": root} | variables,
        capture_output=True,
        check=False,
    )


PLAN = "harness.ablate table5 --scale smoke --rows mactok --dry-run"
SURROUNDINGS = [{"MPLBACKEND": "nonsense"}, {"PYTHONOPTIMIZE": "2"}, {"PYTHONUTF8": "0", "LC_ALL": "C"}]


@pytest.mark.slow
@pytest.mark.parametrize("variables", SURROUNDINGS, ids=str)
@pytest.mark.parametrize("words", ["harness", "harness.ablate --help", PLAN])
def test_what_other_tools_set_has_no_influence(words: str, variables: dict[str, str], tmp_path: Path) -> None:
    found = done(words, tmp_path, **variables)
    assert (found.returncode, found.stderr) == (0, b"")
    plain = done(words, tmp_path)
    if "PYTHONUTF8" not in variables:
        assert found.stdout == plain.stdout
    else:
        assert found.stdout.isascii() and len(found.stdout) > 0.9 * len(plain.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("redirect", [">&-", "<&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_fault(redirect: str, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    found = done("harness.runs", tmp_path, redirect)
    assert found.returncode == 0 and b"Traceback" not in found.stderr
    assert done("harness.prune", tmp_path, redirect).returncode == 2


LONG = ["harness", "harness.ablate --list", "harness.ablate --fields", "harness.ablate --help", f"{PLAN} --details"]


@pytest.mark.slow
@pytest.mark.parametrize("words", LONG)
@pytest.mark.parametrize("reader", ["head -1", "true"])
def test_a_reader_may_leave(words: str, reader: str, tmp_path: Path) -> None:
    found = done(words, tmp_path, f"| {reader}")
    assert found.stdout.count(b"\n") == (reader != "true")
    assert found.stderr == b""


def test_a_working_folder_that_is_gone_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    root = Path(__file__).parents[2]
    line = f"cd gone; rmdir ../gone; {sys.executable} -m {PLAN}"
    found = subprocess.run(
        ["bash", "-c", line], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(root)}, capture_output=True, check=False
    )
    assert found.returncode == 2
    assert found.stderr == b"error: the working folder is gone: change to a folder that exists\n"


def test_output_without_unicode_is_readable() -> None:
    surroundings.prepare()
    assert "0.5 ± 0.1 ↓ café 中".encode("ascii", "harness.ascii") == b"0.5 +- 0.1 (lower) cafe \\u4e2d"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("$x_{$", "$x_{$"),
        ("\\frac", "\\frac"),
        ("_x", " _x"),
        ("a\nb", "a\\nb"),
        ("中文", "U+4E2D U+6587"),
        (os.fsdecode(b"caf\xe9"), "caf\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_labels_are_plain_text(name: str, expected: str) -> None:
    assert label(name) == expected
