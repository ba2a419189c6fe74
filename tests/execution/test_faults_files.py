"""After full disks and damaged files the state is right, and nothing is double or half."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.store.runs import Damaged, Store
from tests import toy
from tests.execution.toy_commands import Commands, ends_right, told

pytestmark = pytest.mark.slow

# No room


@pytest.mark.parametrize("source", [False, True], ids=["empty", "one stage done"])
def test_files_that_may_not_grow(source, command, right, tmp_path):
    for limit in (0, 100, 1000, 2000, 4000, 6000 if source else 16000):
        runs = tmp_path / str(limit)
        if source:
            assert command(runs, rows=1)[0] == 0
            shutil.rmtree(runs / "toy_train")
            shutil.rmtree(runs / "toy_sum")
        told(*command(runs, rows=1, limit=limit), "File too large")
        ends_right(command, runs, right[1], rows=1)


def test_jobs_whose_files_may_not_grow(command, right, tmp_path):
    code, said = command(tmp_path, "--executor", "local", rows=1, limit=2000)
    told(code, said, "File too large")
    ends_right(command, tmp_path, right[1], "--executor", "local", rows=1)


@contextlib.contextmanager
def small_disk(place: Path, kilobytes: int) -> Iterator[Callable[[], object]]:
    """A file system of that size at `place`, and what makes it large."""
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "none", str(place)]
    try:
        subprocess.run(words, capture_output=True, text=True, check=True)
    except FileNotFoundError:
        pytest.skip("no mount here")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no file system may be mounted here: {error.stderr.strip()}")
    try:
        yield lambda: subprocess.run(["mount", "-o", "remount,size=10m", str(place)], check=True)
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_disk_that_fills_up(command, right, tmp_path):
    full = []
    for kilobytes in range(4, 160, 12):
        with small_disk(tmp_path / str(kilobytes), kilobytes) as enlarge:
            runs = tmp_path / str(kilobytes)
            code, said = command(runs, rows=1)
            if code:
                told(code, said, "No space left on device", lines=2)  # of the stage, and that this cannot be noted
                full.append(kilobytes)
            enlarge()
            ends_right(command, runs, right[1], rows=1)
    assert len(full) >= 5, full


# Damage


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0b100
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.fixture(scope="module")
def stores(command: Commands, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A finished store and one whose training ended in the middle, both with all files that jobs leave."""
    place = tmp_path_factory.mktemp("stores")
    assert command(place / "finished", "--executor", "local", rows=1)[0] == 0
    toy.behave(place / "interrupted", 0, "exit")
    assert command(place / "interrupted", "--executor", "local", rows=1)[0] == 1
    toy.behave(place / "interrupted", 0, "")
    made = {name: place / name for name in ("finished", "interrupted")}
    kinds = {name: {Path(file).name for file in files(runs)} for name, runs in made.items()}
    always = {"config.json", "experiment.json", "status.json", "result.json", "job.json", "metrics.csv", "bytes.bin"}
    assert kinds["finished"] == always | {"state.txt"}
    assert kinds["interrupted"] == always | {"checkpoint.pt", "progress.json"}
    return made


def files(runs: Path) -> list[str]:
    return sorted(str(path.relative_to(runs)) for path in runs.glob("toy_*/*/*"))


# curves become part of the result.
@pytest.mark.parametrize("damage", [flip, cut])
@pytest.mark.parametrize(("store", "read"), [("finished", True), ("finished", False), ("interrupted", True)])
def test_damage_of_every_file(store, read, damage, stores, command, right, tmp_path):
    damaged = {file: tmp_path / file.replace("/", " ") for file in files(stores[store])}
    for file, runs in damaged.items():
        shutil.copytree(stores[store], runs)
        damage(runs / file)
        if read and store == "finished":
            for reader in toy.STAGES[toy.STAGES.index(file.split("/")[0]) + 1 :]:
                shutil.rmtree(runs / reader)
    ended = _together(command, damaged)
    unseen = set()
    for file, runs in damaged.items():
        stage, key, name = file.split("/")
        code, said = ended[file]
        assert code == 0 and "Traceback" not in said, (file, said)
        run = Store(runs).run(stage, key)
        try:
            run.checked_folder()
        except Damaged as error:
            assert error.run.folder == run.folder and name in str(error)
            unseen.add(name)
            assert said == "done done done"
            shutil.copy(stores[store] / file, runs / file)
        assert toy.results(runs) == right[1], file
    never = {"metrics.csv"} if store == "finished" else set()  # no stage reads curves
    assert unseen == (never if read else {*never, "bytes.bin", "state.txt"})


def _together(command: Commands, stores: dict[str, Path]) -> dict[str, tuple[int, str]]:
    processes = {name: command.start(runs, "--retry", "failed", rows=1) for name, runs in stores.items()}
    return {name: command.wait(process) for name, process in processes.items()}
