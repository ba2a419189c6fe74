"""Imports point one way: commands -> reports, ablations -> the rest of harness -> models."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED_BY_COMMANDS = "harness.cli"  # names the studies, for the commands
HEAVY = {
    "torch",
    "timm",
    "matplotlib",
    "pandas",
    "sklearn",
    "skimage",
    "torch_fidelity",
    "scipy",
    "safetensors",
    "optuna",
}


def module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


PACKAGES = ("models", "harness", "ablations", "reports")
FILES = {module(path): path for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
COMMANDS = {name for name, path in FILES.items() if 'if __name__ == "__main__":' in path.read_text()}
PLANNED = [name for name in FILES if name.startswith(("harness.stages.", "harness.metrics.", "harness.data."))]


def imported(tree: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def rank(name: str) -> int:
    if name in COMMANDS or name == SHARED_BY_COMMANDS:
        return 3
    return {"models": 0, "harness": 1, "reports": 2, "ablations": 2}[name.partition(".")[0]]


def test_commands_are_modules_of_the_harness():
    assert {f"harness.{name}" for name in ("__main__", "ablate", "claims", "evaluate", "report", "sweep")} <= COMMANDS
    assert {name.rpartition(".")[0] for name in COMMANDS} == {"harness"}


@pytest.mark.parametrize("name", FILES)
def test_imports_point_one_way(name):
    ours = {n for n in imported(ast.parse(FILES[name].read_text())) if n in FILES}
    assert all(rank(n) <= rank(name) for n in ours), sorted(ours)
    packages = {n.partition(".")[0] for n in ours}
    if name.startswith("models"):
        assert packages <= {"models"}
    if name.startswith("ablations"):
        assert not packages & {"reports", "models"}
    if name.startswith("reports"):
        assert not packages & {"ablations"}


LIGHT = (
    *("harness.plan", "harness.study", "harness.space", "harness.claim", "harness.cli", "harness.store"),
    *("reports.results", "reports.judgement", "reports.claims", "reports.differences", "reports.answer"),
)


@pytest.mark.parametrize("name", [*sorted(COMMANDS), *LIGHT])
def test_reading_and_planning_do_not_wait_for_torch(name):
    code = f"import sys, {name}; sys.exit(bool({{'torch', 'timm', 'matplotlib', 'optuna'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize("name", PLANNED)
def test_what_planning_imports_is_light_at_module_level(name):
    body = ast.parse(FILES[name].read_text()).body
    shallow = [node for node in body if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert not {n.partition(".")[0] for node in shallow for n in imported(node)} & HEAVY
