"""The examples of `docs/adding.md`: put where that page says, they are found and run."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.execution.code_copy import PACKAGES
from tests import toy

EXAMPLES = toy.ROOT / "docs/examples"
# Where a file goes, by its folder; those of the second kind are one entry of the module that they are appended to.
FOLDERS = {
    "ablations": "ablations",
    "generators": "models/generators",
    "metrics": "harness/evaluation/metrics",
    "sets": "harness/data/sets",
    "tokenizers": "models/tokenizers",
}
ENTRIES = {"teachers": "harness/networks/teachers.py", "variants": "models/variants.py"}
OUTSIDE = ("outside", "python")  # nothing is copied: `test_commands` runs them
FLOWS = 'FLOWS = frozenset({"sit", '


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with all examples in place."""
    place = tmp_path_factory.mktemp("checkout")
    for package in PACKAGES:
        shutil.copytree(toy.ROOT / package, place / package, ignore=shutil.ignore_patterns("__pycache__", "*.png"))
    for path in sorted(EXAMPLES.rglob("*.py")):
        if path.parent.name in FOLDERS:
            shutil.copy(path, place / FOLDERS[path.parent.name])
        elif path.parent.name not in OUTSIDE:
            with (place / ENTRIES[path.parent.name]).open("a", encoding="utf-8") as file:
                file.write(f"\n{path.read_text(encoding='utf-8')}")
    generators = place / "models/generators/__init__.py"
    text = generators.read_text(encoding="utf-8")
    assert FLOWS in text
    generators.write_text(text.replace(FLOWS, f'{FLOWS}"swish_sit", '), encoding="utf-8")
    return place


def command(checkout: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=checkout,
        env=toy.environment(checkout),
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def page(checkout: Path, *words: str) -> str:
    """The page that a command writes, whose path it prints last."""
    return (checkout / command(checkout, *words).split()[-1]).read_text(encoding="utf-8")


def test_every_example_is_listed(checkout):
    listed = command(checkout, "harness")
    for path in EXAMPLES.rglob("*.py"):
        if path.parent.name not in (*OUTSIDE, "teachers"):  # teachers have no list
            assert f"  {path.stem} " in listed, path


def test_an_example_is_short():
    for path in EXAMPLES.rglob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 45, path


def test_data_set_teacher_generator_metric_and_study_run(checkout):
    words = ["--data", "stripes", "--set", "teacher=edges", "--set", "generator.on=true"]
    words += ["--set", "generator.name=swish_sit", "--rows", "semantic,both", "--quiet", "--scale", "smoke"]
    text = page(checkout, "harness.ablate", "mask_kinds", *words)
    assert "Data set `stripes`" in text and "- teacher: no network: patch tokens the edges" in text
    assert "**worst PSNR**" in text and "generator.name = swish_sit" in text
    assert "semantic masks help" in text


def test_variants_and_tokenizer_run(checkout):
    words = ["--space", "training.learning_rate=1e-3,2e-3", "--rows", "gentle_masking,patchwise"]
    text = page(checkout, "harness.sweep", *words, "--objective", "rfd", "--quiet", "--scale", "smoke")
    assert "| gentle_masking " in text and "| patchwise " in text


pytestmark = pytest.mark.slow
