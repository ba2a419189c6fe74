"""Whatever prints a table prints one that fits a terminal of 80 columns."""

from __future__ import annotations

import dataclasses
import importlib
import re
from pathlib import Path

import pytest

from harness import bench, verify
from harness.hub.systems import SYSTEMS
from harness.planning.plan import plan_of
from harness.store.records import Record
from tests.commands.evaluated import asking
from tests.commands.stores import FOIL, filled, make, request_of

WIDTH = 80
ROOT = Path(__file__).resolve().parents[2]
RULE = re.compile(r"-{2,}(  -{2,})+")
LONG = Record(
    *("a metric with a long name (Lite2)", 1234.5, 2048, 100, "val", "in words " * 20, 33.25, (1200.125, 1268.875)),
    protocol_id="lite/0123456789abcdef/" * 3,
)
ROW = ["table5", "--scale", "smoke", "--rows", "mactok"]
OF_STORE = {  # what prints tables of a store
    "runs": [[], ["table5"]],
    "prune": [[]],
    "status": [[*ROW, "--details"]],
    "compare": [["a" * 16, "b" * 16]],
    "ablate": [[*ROW, "--dry-run", "--details"]],
    "sweep": [["mask_ratio", "--scale", "smoke", "--dry-run", "--details"]],
}


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(WIDTH))


def fits(text: str) -> bool:
    """Whether there are tables, and no line of them is too long."""
    blocks = [block.splitlines() for block in text.split("\n\n")]
    tables = [lines for lines in blocks if any(RULE.fullmatch(line) for line in lines)]
    return bool(tables) and all(len(line) <= WIDTH for lines in tables for line in lines)


@pytest.mark.parametrize(("name", "words"), [(name, words) for name, of in OF_STORE.items() for words in of])
def test_tables_of_a_store_fit(name, words, tmp_path, capsys):
    store = filled(tmp_path, request_of())
    filled(tmp_path, request_of(FOIL), remembering=False)
    task = plan_of(request_of()).tasks[-1]
    for letter in "ab":
        make(
            dataclasses.replace(task, key=letter * 16), store, [LONG], versions={"torch": "1.2.3", "numpy": letter * 60}
        )
    assert importlib.import_module(f"harness.{name}").main([*words, "--runs", str(tmp_path)]) == 0
    assert fits(capsys.readouterr().out)


@pytest.mark.usefixtures("empty_folder", "quick", "small")
@pytest.mark.parametrize("protocol", ["lite", "adm256"])
def test_the_table_of_scores_fits(protocol, sets, capsys):
    words = [*map(str, asking(sets, protocol)), "--fewer", "--quiet"]
    assert importlib.import_module("harness.evaluate").main(words) == 0
    assert fits(capsys.readouterr().out)


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_number_beside_the_published_one_fits(name):
    assert fits(verify.beside(name, SYSTEMS[name], LONG))


def test_measurements_of_speed_fit(capsys):
    assert bench.main(["--scale", "smoke", "--works", "latents"]) == 0
    assert fits(capsys.readouterr().out)


def test_every_table_knows_the_width_of_the_terminal():
    """What makes a table by itself writes Markdown, which `terminal.fitted` prints."""
    files = {path.relative_to(ROOT): path.read_text() for path in ROOT.glob("harness/**/*.py")}
    makers = {str(path) for path, text in files.items() if "from tabulate import" in text}
    assert makers == {"harness/system/terminal.py", "harness/bench.py"}
    assert "terminal.fitted(markdown(" in files[Path("harness/bench.py")]
