"""The package that users install: it holds what the code reads, and its command works where nothing else of ours is."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

import harness
from harness.__main__ import NAMES
from harness.execution.code_copy import PACKAGES, SUFFIXES
from tests.conftest import save_class

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
HIDDEN = ("ablations", "models", "reports")
NOT_PACKAGED = {"examples", "earlier", "scales", "speed", "out"}  # of reports/
FILES = [
    path
    for package in PACKAGES
    for path in (ROOT / package).rglob("*")
    if path.is_file() and path.suffix != ".pyc" and not set(path.relative_to(ROOT).parts) & NOT_PACKAGED
]
CODE = {path: path.read_text() for path in FILES if path.suffix in (".py", ".j2")}
DATA = [path for path in FILES if path.suffix != ".py"]


def read_by_code() -> list[Path]:
    """The files of `DATA` that code or a template names in a string."""
    return [path for path in DATA if any(f'{path.name}"' in text for text in CODE.values())]


def declared(path: Path) -> bool:
    """Whether `pyproject.toml` puts a file into the wheel."""
    packages: dict[str, list[str]] = PROJECT["tool"]["setuptools"]["package-data"]
    own = packages.get(".".join(path.parent.relative_to(ROOT).parts), [])
    in_package = (path.parent / "__init__.py").exists()
    return in_package and any(fnmatch(path.name, pattern) for pattern in (*packages["*"], *own))


def test_what_code_reads_is_in_the_wheel():
    assert {path.suffix for path in read_by_code()} == {".csv", ".j2"}
    assert [path for path in read_by_code() if not declared(path)] == []


def test_what_code_reads_is_in_the_copy_of_the_code_that_jobs_run():
    assert [path for path in read_by_code() if path.suffix not in SUFFIXES] == []


def test_nothing_else_is_in_the_wheel():
    assert {path.name for path in DATA if declared(path)} == {path.name for path in read_by_code()} | {"py.typed"}


def test_the_versions_are_one():
    assert f"\nversion: {harness.__version__}\n" in (ROOT / "CITATION.cff").read_text()


def test_every_command_has_its_name():
    commands = {path.stem for path in (ROOT / "harness").glob("*.py") if "cli.run(main)" in path.read_text()}
    assert set(NAMES) == commands - {"__main__"}


# Folders of the user


def here(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *words], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("name", HIDDEN)
def test_a_users_package_of_our_name_is_named_in_one_line(name, tmp_path):
    (tmp_path / f"{name}.py").write_text("raise AssertionError")
    done = here("-m", "harness.ablate", "table5", "--dry-run", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        f"error: {tmp_path / name}.py hides our package {name}: rename it, or run the command tokenizer-harness, which "
        "does not look in the working folder\n"
    )
    imported = here("-c", "import harness", cwd=tmp_path)
    assert imported.returncode == 1 and "ImportError" in imported.stderr and "hides our package" in imported.stderr


def test_a_users_folder_that_is_no_package_hides_nothing(tmp_path):
    for name in HIDDEN:
        (tmp_path / name).mkdir()
    assert here("-m", "harness.ablate", "table5", "--dry-run", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("line", "expected"),
    {
        "abl": "ablate",
        "ablate tab": "table5",
        "ablate --max-g": "--max-gpu-hours",
        "ablate --scale smo": "smoke",
        "ablate --data embed": "embedded",
        "ablate --executor slu": "slurm",
        "sweep --sampler tp": "tpe",
        "sweep --pruner med": "median",
        "sweep --objective gf": "gfd",
        "convert --from softv": "softvq",
        "verify sit-": "sit-xl-256",
        "evaluate --protocol lit": "lite",
        "runs --scale smo": "smoke",
        "bench --scale smo": "smoke",
        "claims --scale smo": "smoke",
    }.items(),
)
def test_words_are_completed(line, expected, tmp_path):
    line, answer = f"tokenizer-harness {line}", tmp_path / "answer"
    shell = {"COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n"}
    code = "import sys; sys.argv = ['tokenizer-harness']; from harness.__main__ import script; script()"
    subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT), **shell, "_ARGCOMPLETE_STDOUT_FILENAME": str(answer)},
        check=True,
    )
    assert expected in answer.read_text().split()


# The wheel


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the wheel is installed into; it is built from a copy, so that nothing of the build stays here."""
    place = tmp_path_factory.mktemp("package")
    source, target = place / "source", place / "installed"
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    wheels = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(place), str(source)]
    subprocess.run([*pip, *wheels], check=True, cwd=place)
    wheel = next(place.glob("*.whl"))
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--target", str(target), str(wheel)], check=True)
    return target


@pytest.mark.slow
def test_the_wheel_holds_no_pages_and_no_tests(installed):
    top = {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")}
    assert top == {*PACKAGES, "bin"}
    suffixes = {path.suffix for package in PACKAGES for path in (installed / package).rglob("*") if path.is_file()}
    assert suffixes <= {".py", ".pyc", ".csv", ".j2", ".toml", ".typed"}
    assert not {path.name for path in (installed / "reports").iterdir()} & NOT_PACKAGED


@pytest.mark.slow
def test_an_installed_command_does_everything_where_nothing_else_of_ours_is(installed, tmp_path):
    for name in (*HIDDEN, "harness"):  # in the working folder: they hide nothing from the console script
        (tmp_path / f"{name}.py").write_text("raise AssertionError('not ours')")
    save_class(tmp_path / "images", 2)

    def script(*words: str) -> str:
        done = subprocess.run(
            [installed / "bin/tokenizer-harness", *words],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(installed)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert script("--version") == f"tokenizer-harness {harness.__version__}\n"
    assert "KL-VAE" in script("ablate", "table5", "--scale", "smoke", "--rows", "KL-VAE", "--quiet")
    page = (tmp_path / "reports/out").glob("table5-smoke-*.md")
    assert f"`{harness.__version__}`" in next(page).read_text()  # in place of a commit
    assert "table5 at smoke" in script("claims", "table5", "--scale", "smoke")
    run = next((tmp_path / "runs/evaluation").glob("[0-9a-f]*"))
    script("publish", "--run", run.name, "--out", "published")
    card = (tmp_path / "published/README.md").read_text()
    line = next(words for words in card.split("`") if words.startswith("python -m harness.tokenize"))
    python, module, command, *rest = shlex.split(line.replace("FOLDER", "images").replace("OWNER/NAME", "published"))
    assert (python, module) == ("python", "-m")
    script(command.removeprefix("harness."), *rest)
