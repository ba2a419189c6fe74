"""Tables and lists fit the width of the terminal, and are whole where there is no terminal."""

from __future__ import annotations

import itertools
import os
import pty
import subprocess
import sys
import termios

import pytest

from harness.system import terminal

HEADS = ("stage", "rows", "key", "state", "GPU-hours")
LINES = [
    ("generator_snapshots", "+ local alignment, + semantic mask, + global alignment", "59f88b694008fa6b", "waiting", 1),
    ("data", "all rows", "4872f7378e3d0b36", "done", 0.001),
]
WIDTHS = (*range(60, 130, 7), 80)


@pytest.fixture(params=WIDTHS)
def columns(request, monkeypatch) -> int:
    monkeypatch.setenv("COLUMNS", str(request.param))
    return request.param


def test_a_table_fits(columns):
    text = terminal.table(LINES, HEADS, spare=("key",))
    assert max(map(len, text.splitlines())) <= columns
    left_out = [head for head in HEADS if head not in text.partition("---")[0]]
    assert bool(left_out) == ("too narrow for" in text)
    assert not left_out or left_out[0] == "key"  # which goes first
    together = "".join(text.split())
    for word in ("generator_snapshots", "alignment", "semantic"):
        assert word in together or "rows" in left_out


def test_a_list_fits(columns):
    text = terminal.entries({"tokenizer.masking.max_ratio = 0.7": "M, the largest share " * 9, "a": "", "b": "short"})
    assert max(map(len, text.splitlines())) <= columns
    assert text.count("largest") == 9


def test_lines_of_words_fit_and_paths_stay_whole(columns):
    path = "/a/path/" + "x" * 90
    *lines, last = terminal.prose(f"warning: {'many words ' * 20}\nsecond\n{path}").splitlines()
    assert max(map(len, lines)) <= columns
    assert (lines[-1], last) == ("second", path)


def test_without_a_terminal_there_is_no_limit(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    assert terminal.width() is None
    text = terminal.table(LINES, HEADS, spare=("key",))
    assert all(str(cell) in text for cell in itertools.chain(HEADS, *LINES))
    assert len(text.splitlines()) == 2 + len(LINES)
    assert terminal.entries({"name": "word " * 99}).count("\n") == 0


def test_a_table_without_lines_has_its_heads(columns):
    assert terminal.table([], ("a", "b")).split()[:2] == ["a", "b"]


@pytest.mark.parametrize("wide", [80, 132])
def test_the_width_is_that_of_the_terminal(wide):
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, wide))
    code = "from harness.system import terminal; print(terminal.width())"
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    subprocess.run([sys.executable, "-c", code], stdout=theirs, env=environment, check=True)
    assert int(os.read(ours, 100)) == wide
    os.close(ours), os.close(theirs)


MARKDOWN = "\n".join(
    [
        "A sentence.",
        "",
        "| row | KID (Lite2) ↓ | rFD ↓ | paper rFID | rFD∞ ↓ | PSNR (dB) ↑ | paper PSNR | status |",
        "|:----|:--------------|:------|:-----------|:-------|:------------|:-----------|:-------|",
        "| + global alignment | 13509.5 ± 334.0 | 3561.5 | 0.43 | 3552.2 [3457.2, 3647.2] | 10.59 | 25.03 | active |",
        "| *PCA, 32 numbers* | 5414.8 ± 312.0 | 1971.5 | – | 1852.8 [1756.7, 1949.0] | 19.33 | – | – |",
        "",
        "The answer, which is as long as it likes to be: a terminal wraps it, and a path is one word to copy.",
        "a/path.md",
    ]
)


def test_tables_of_markdown_fit_and_the_rest_stays(columns):
    text = terminal.fitted(MARKDOWN)
    assert text.startswith("A sentence.\n\n") and text.endswith("to copy.\na/path.md")
    between = text.split("\n\n")[1]
    assert max(map(len, between.splitlines())) <= columns
    assert "|" not in between and "*" not in between
    assert "13509.5 ± 334.0" in between and "+ global alignment" in between


def test_markdown_stays_as_it_is_without_a_terminal(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    assert terminal.fitted(MARKDOWN) == MARKDOWN
