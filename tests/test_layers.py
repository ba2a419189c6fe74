"""Imports point downwards, lazy ones too; reading and planning stay light; no folder is too wide."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = "commands"
# A module imports only from the lines above its own, and within its own package.
LAYERS = (
    ("models", "harness.system"),
    ("harness.experiments",),
    ("harness.store", "harness.data"),
    ("harness.planning",),
    ("harness.networks", "harness.search"),
    ("harness.training", "harness.execution"),
    ("harness.latents",),
    ("harness.evaluation",),
    ("harness.stages", "harness.hub", "reports", "ablations"),
    ("harness.cli", "harness.benchmarks"),
    (COMMANDS,),
    ("harness.api",),
)
RANKS = {package: rank for rank, line in enumerate(LAYERS) for package in line}
WIDEST, WIDEST_OF_ALL = 20, 36  # entries in a folder; in `harness/`, where every command is one
HEAVY = {
    *("torch", "timm", "matplotlib", "pandas", "sklearn", "skimage", "torch_fidelity", "scipy", "safetensors"),
    "optuna",
}


def module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


FILES = {
    module(path): path
    for package in ("models", "harness", "ablations", "reports")
    for path in (ROOT / package).rglob("*.py")
}


def package_of(name: str) -> str:
    """The entry of `LAYERS` that a module belongs to; `harness` itself hands out what `harness.api` offers."""
    if name == "harness":
        return "harness.api"
    parts = name.split(".")
    return next((p for p in (".".join(parts[:2]), parts[0]) if p in RANKS), COMMANDS)


def imported(tree: ast.AST) -> set[str]:
    """Every module that is imported anywhere in `tree`, inside functions too."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def upward(name: str, text: str) -> set[str]:
    """The modules of the project that module `name` with this text may not import, and does."""
    ours = {n for n in imported(ast.parse(text)) if n in FILES and n != "harness"}
    package = package_of(name)
    return {n for n in ours if package_of(n) != package and RANKS[package_of(n)] >= RANKS[package]}


@pytest.mark.parametrize("name", FILES)
def test_imports_point_downwards(name):
    assert not upward(name, FILES[name].read_text())


def test_every_package_has_its_layer():
    packages = {name for name, path in FILES.items() if path.name == "__init__.py" and name.count(".") <= 1}
    assert packages - {"harness"} - {f"{p}.{q.name}" for p in ("models", "reports") for q in (ROOT / p).iterdir()} == {
        package for package in RANKS if package not in (COMMANDS, "harness.api")
    }


@pytest.mark.parametrize(
    ("name", "text"),
    {
        "harness.store.runs": "from harness.planning.task import Task",
        "harness.system.files": "def f():\n    from harness import experiments",
        "harness.experiments.study": "def f():\n    import harness.cli",
        "harness.training.loop": "if TYPE_CHECKING:\n    from harness.execution.worker import Place",
        "models.config": "from harness.system.errors import Mistake",
        "reports.tables": "import ablations.table5",
        "harness.cli": "from harness import ablate",
    }.items(),
)
def test_an_import_upwards_or_sideways_is_seen_wherever_it_stands(name, text):
    assert upward(name, text)


@pytest.mark.parametrize("name", sorted(name for name in FILES if package_of(name) == COMMANDS))
def test_what_is_no_package_is_a_command(name):
    assert 'if __name__ == "__main__":' in FILES[name].read_text()


def test_no_folder_is_too_wide():
    of_plugins = {ROOT / "harness/evaluation/metrics", ROOT / "harness/stages", ROOT / "ablations"}
    for folder in {path.parent for path in FILES.values()} - of_plugins:
        entries = [path for path in folder.iterdir() if not path.name.startswith(("__", ".")) and path.name != "out"]
        assert len(entries) <= (WIDEST_OF_ALL if folder == ROOT / "harness" else WIDEST), folder


COMMAND_MODULES = [name for name in FILES if package_of(name) == COMMANDS]
LIGHT = (
    *("harness.planning.task", "harness.planning.plan", "harness.experiments.requests", "harness.cli"),
    *("harness.store.runs", "harness.evaluation.records", "harness.networks.roles", "harness.networks.teachers"),
    *("reports.results", "reports.claims.judge", "reports.claims.table", "reports.ablation.differences"),
    *("reports.sweep.answer", "harness", "harness.api"),
)
PLUGINS = ("harness.stages.", "harness.evaluation.metrics.", "harness.data.sets.", "harness.execution.executors.")
PLANNED = [name for name in FILES if name.startswith(PLUGINS)]


@pytest.mark.parametrize("name", [*sorted(COMMAND_MODULES), *LIGHT])
def test_reading_and_planning_do_not_wait_for_torch(name):
    code = f"import sys, {name}; sys.exit(bool({{'torch', 'timm', 'matplotlib', 'optuna'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_all_plugins_of_planning_together_do_not_wait_for_torch():
    code = f"import sys, {', '.join(PLANNED)}; print(*{HEAVY} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("name", FILES)
def test_plugins_are_no_libraries(name):
    """What two files need stands below both: nothing imports a plugin by its module, but loads it by its name."""
    plugins = {n for n in FILES if n.startswith((*PLUGINS, "harness.networks.measures.", "harness.hub.released."))}
    assert not imported(ast.parse(FILES[name].read_text())) & plugins


@pytest.mark.parametrize("name", PLANNED)
def test_what_planning_imports_is_light_at_module_level(name):
    body = ast.parse(FILES[name].read_text()).body
    shallow = [node for node in body if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert not {n.partition(".")[0] for node in shallow for n in imported(node)} & HEAVY
