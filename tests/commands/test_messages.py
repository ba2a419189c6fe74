"""Messages suggest only options and commands that exist."""

from __future__ import annotations

import argparse
import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import cli
from harness.__main__ import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted({command.split()[0] for command in COMMANDS})
FILES = sorted(
    path for package in ("harness", "models", "reports", "ablations") for path in (ROOT / package).rglob("*.py")
)
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*[a-z]")
CALLED = re.compile(r"-m (harness\.[a-z_]+)(?![\w.])")
OTHERS = {  # of sbatch, srun, squeue, git and hf, which are called with them
    "--local-dir",
    *("--test-only", "--wrap", "--cpus-per-task", "--kill-on-bad-exit", "--wait", "--user", "--noheader", "--all"),
    *("--array", "--states", "--format", "--others", "--exclude-standard", "--name-only", "--porcelain"),
}


def options_of(command: str) -> set[str]:
    seen: list[argparse.Action] = []

    def parse(parser: argparse.ArgumentParser, *_: object) -> None:
        seen.extend(parser._actions)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli.Parser, "parse_args", parse)
        with pytest.raises(KeyboardInterrupt):
            importlib.import_module(command).main([])
    return {name for action in seen for name in action.option_strings}


def texts(path: Path) -> Iterator[str]:
    """All texts of a module that are no docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docs = {
        node.value for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docs:
            yield node.value


@pytest.fixture(scope="module")
def options() -> dict[str, set[str]]:
    return {name: options_of(name) for name in ("harness.__main__", *NAMES)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_option_and_command_that_is_named_exists(path, options):
    known, name = set().union(*options.values()) | OTHERS, f"harness.{path.stem}"
    for text in texts(path):
        assert set(OPTION.findall(text)) <= known, text
        called = CALLED.findall(text)
        assert set(called) <= set(NAMES), text
        passed_on = text in known  # an option alone may be one of another command
        if name in NAMES and path.parent.name == "harness" and "harness." not in text and not passed_on:
            assert set(OPTION.findall(text)) <= options[name], text
