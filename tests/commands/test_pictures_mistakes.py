"""The commands `generate` and `reconstruct` refuse a mistake in one line."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness import generate, reconstruct
from harness.store.runs import Store
from harness.system.errors import Mistake
from harness.system.files import write_json
from tests.commands.pictured import Command, run_of

pytestmark = pytest.mark.usefixtures("float32")


GENERATE_MISTAKES = {
    "class out of range": (["--classes", "10"], "class 10 is out of range: 0 to 9"),
    "negative class": (["--classes", "0,-1"], "class -1 is out of range: 0 to 9"),
    "class": (["--classes", "3,tmie"], "unknown class 'tmie'. Did you mean 'time'?"),
    "no class": (["--classes", ","], "--classes ',' names no class"),
    "no pictures": (["--count", "0"], "--count 0: at least 1"),
    "negative count": (["--count", "-3"], "--count -3: at least 1"),
    "count": (["--count", "many"], "--count"),
    "no steps": (["--steps", "0"], "--steps 0: should be greater than or equal to 1"),
    "steps": (["--steps", "2.5"], "--steps 2.5: should be a valid integer"),
    "sampler": (["--sampler", "eulr"], "--sampler eulr: should be 'euler'"),
    "guidance below 1": (["--cfg", "0.9"], "--cfg 0.9: should be greater than or equal to 1"),
    "guidance": (["--cfg", "high"], "--cfg high: should be a valid number"),
    "infinite guidance": (["--cfg", "inf"], "--cfg inf: should be a finite number"),
    "several scales": (["--cfg", "1,2"], "1,2"),
    "negative seed": (["--seed", "-1"], "--seed -1: should be greater than or equal to 0"),
    "seed": (["--seed", "one"], "--seed one: should be a valid integer"),
    "option": (["--clases", "1"], "Did you mean '--classes'?"),
}
RUN_MISTAKES = {
    "unknown run": ("nowhere", "no run 'nowhere'"),
    "wildcard": ("*", "no run '*'"),
    "no run": ("", "no run ''"),
    "several runs": ("ab", "have keys that begin with 'ab'"),
}


@pytest.fixture
def store(runs: Path) -> Store:
    """The finished row. Tests copy it, never change it."""
    return Store(runs)


def refused(command: Command, out: Path, *words: str) -> str:
    """The one line with which a command refuses, before it writes anything."""
    with pytest.raises(Mistake) as error:
        command([*words, "--out", str(out)])
    assert not out.exists()
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("case", GENERATE_MISTAKES)
def test_generate_refuses_in_one_line_and_writes_nothing(case, store, tmp_path):
    words, expected = GENERATE_MISTAKES[case]
    key = run_of(store, "generation").key
    assert expected in refused(generate.main, tmp_path / "out", *words, "--run", key, "--runs", str(store.root))


@pytest.mark.parametrize("case", RUN_MISTAKES)
@pytest.mark.parametrize("command", [generate, reconstruct])
def test_a_run_has_to_be_named_so_that_it_is_one(command, case, tmp_path):
    named, expected = RUN_MISTAKES[case]
    for stage, key in [("tokenizer", "abc0"), ("generator", "abd0"), ("data", "cd00")]:
        (tmp_path / "runs" / stage / key).mkdir(parents=True)
        write_json(tmp_path / "runs" / stage / key / "config.json", {})
    words = ["--run", named, "--runs", str(tmp_path / "runs")]
    given = [] if command is generate else ["images"]
    assert expected in refused(command.main, tmp_path / "out", *given, *words)


@pytest.mark.parametrize("stage", ["data", "tokenizer", "generator", "guided_samples", "evaluation"])
def test_generate_wants_a_row_with_generated_images(stage, store, tmp_path):
    """Any stage of the row names it, see test_finished_run; but the images have to be there."""
    shutil.copytree(store.root, tmp_path / "runs")
    shutil.rmtree(tmp_path / "runs/generation")
    key = run_of(store, stage).key
    said = refused(generate.main, tmp_path / "out", "--run", key, "--runs", str(tmp_path / "runs"))
    assert said == f"{key} is a run of the stage {stage}, and no run of generation of its row is done"


@pytest.mark.parametrize("stage", ["data", "latents", "generator", "samples"])
def test_reconstruct_wants_a_row_that_has_a_decoder(stage, store, album, tmp_path):
    shutil.copytree(store.root, tmp_path / "runs")
    for made in ("generation", "evaluation", "finetuning", "tokenizer"):
        shutil.rmtree(tmp_path / "runs" / made)
    key = run_of(store, stage).key
    said = refused(reconstruct.main, tmp_path / "out", str(album), "--run", key, "--runs", str(tmp_path / "runs"))
    assert f"{key} is a run of the stage {stage}, and no run of " in said


@pytest.mark.parametrize("command", [generate, reconstruct])
def test_a_run_has_to_be_finished(command, store, album, tmp_path):
    shutil.copytree(store.root, tmp_path / "runs")
    named = run_of(Store(tmp_path / "runs"), "generation")
    named.set_state("stopped", "asked to stop")
    given = [] if command is generate else [str(album)]
    said = refused(command.main, tmp_path / "out", *given, "--run", named.key, "--runs", str(tmp_path / "runs"))
    assert said == f"generation {named.key} is not finished, but stopped"


@pytest.mark.parametrize("gone", ["", "weights.safetensors", "config.json"])
def test_a_generator_that_is_gone_is_one_line_and_exit_code_1(gone, store, tmp_path):
    shutil.copytree(store.root, tmp_path / "runs")
    path = run_of(Store(tmp_path / "runs"), "generator").folder / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    done = command_line("generate", "--run", run_of(store, "generation").key, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert "run its study again to make it again" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["good.png", "torn.png"], "torn.png (damaged or cut off). Replace or remove it"),
        (["words.png"], "words.png (not the content of an image). Replace or remove it"),
        (["good.png", "absent.png"], "absent.png does not exist"),
        (["good.png", "empty"], "no images in "),
    ],
)
def test_reconstruct_refuses_in_one_line_and_writes_nothing(given, expected, store, album, tmp_path):
    good = (album / "b/one.png").read_bytes()
    (tmp_path / "good.png").write_bytes(good)
    (tmp_path / "torn.png").write_bytes(good[: len(good) // 2])
    (tmp_path / "words.png").write_text("no image")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/notes.txt").write_text("no image")
    words = [*(str(tmp_path / name) for name in given), "--run", run_of(store, "tokenizer").key]
    said = refused(reconstruct.main, tmp_path / "out", *words, "--runs", str(store.root))
    assert expected in said
    assert given[-1] in said


def command_line(entry: str, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"harness.{entry}", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=cwd,
    )


@pytest.mark.parametrize(("entry", "words"), [("generate", ["--classes", "tmie"]), ("reconstruct", ["absent.png"])])
def test_a_mistake_is_one_line_and_exit_code_2(entry, words, store, tmp_path):
    words = [*words, "--run", run_of(store, "generation").key, "--runs", str(store.root)]
    done = command_line(entry, *words, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert not list(tmp_path.iterdir())


def test_generate_is_a_command(runs, tmp_path):
    words = ["--run", run_of(Store(runs), "generation").key, "--runs", str(runs), "--classes", "1", "--count", "1"]
    done = command_line("generate", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "reports/out").glob("*/*")) == ["all.png", "class1-0.png"]
