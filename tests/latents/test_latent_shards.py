"""Latents in shards: written by several processes, stopped, damaged, and read as one array."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.data.splits import open_split
from harness.execution.worker import Place, perform
from harness.latents import autoencode
from harness.latents.shards import PARAMETERS, Latents, Shard, Sharded
from harness.latents.statistics import LatentMoments, load_statistics
from harness.planning.task import task
from harness.stages import latents as stage
from harness.store.runs import Damaged, Run, Store
from harness.system.errors import Trouble
from harness.system.machine import Machine
from harness.system.processes import joined
from harness.training.batches import Order
from tests.latents.stored import DRAWS, EXPERIMENT, IMAGES, L, Z, posterior, whole

# Shards: 8 of train and 4 of val, of 2 batches each, which any number of processes may write

PATCH = {"BATCH": 16, "SHARD": 32}
SHARDS = 12
FLOAT32 = Machine("cpu", "float32", 1)
# A process of several; it kills itself where it is about to say that a shard after so many is whole.
PROCESS = """
import os, signal, sys
import harness.latents.shards
from tests.latents.test_latent_shards import patched, perform_latents
written, left = harness.latents.shards.write_json, int(sys.argv[2])
def write_json(*words):
    global left
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    written(*words)
harness.latents.shards.write_json = write_json
with patched():
    perform_latents(sys.argv[1])
"""


@contextlib.contextmanager
def patched() -> Iterator[None]:
    """Small shards, and arithmetic in one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in PATCH.items():
            patch.setattr(stage, name, value)
        yield
    torch.set_num_threads(threads)


def perform_latents(store: str | Path, should_stop: Callable[[], bool] = lambda: False) -> str:
    """Its state after an attempt in the processes that the environment tells of."""
    with joined() as processes:
        place = Place(FLOAT32, should_stop, processes, quiet=True)
        return perform(task("latents", EXPERIMENT), Store(Path(store)), "", place)


def run_in(store: Path) -> Run:
    return task("latents", EXPERIMENT).run_in(Store(store))


def in_two_processes(store: Path, shards: int = SHARDS) -> list[int]:
    """How they ended, each after so many shards."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    environment = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-c", PROCESS, str(store), str(shards)]
    ranks = [{**environment, "WORLD_SIZE": "2", "RANK": str(rank)} for rank in range(2)]
    started = [subprocess.Popen(words, env=rank) for rank in ranks]
    return [process.wait(timeout=200) for process in started]


def last_files(store: Path) -> dict[str, int]:
    """When each of the shards that are whole was finished."""
    return {path.name: path.stat().st_mtime_ns for path in run_in(store).folder.glob("[tv]*_*.json")}


@pytest.fixture
def store(runs: Path, tmp_path: Path) -> Path:
    """One that has what the latents are made from."""
    for name in ("data", "tokenizer"):
        shutil.copytree(runs / name, tmp_path / name)
    return tmp_path


@pytest.fixture(scope="module")
def alone(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with the latents, in small shards, of one process that nothing stopped."""
    place = tmp_path_factory.mktemp("alone")
    for name in ("data", "tokenizer"):
        shutil.copytree(runs / name, place / name)
    with patched():
        assert perform_latents(place) == "done"
    assert len(last_files(place)) == SHARDS
    return place


def test_shards_hold_the_posteriors_of_all_images_and_the_statistics_are_those_of_numpy(alone, finished, tokenizer):
    for split in stage.SPLITS:
        views = stage.views(split, EXPERIMENT)
        images = open_split(finished["data"].folder, split).images
        seen = [autoencode.encode(tokenizer, view, FLOAT32) for view in (images, np.flip(images, axis=2))[:views]]
        for parameter in PARAMETERS:
            expected = np.stack([getattr(q, parameter) for q in seen], axis=1)
            np.testing.assert_allclose(whole(run_in(alone), split, parameter), expected, rtol=1e-3, atol=1e-4)
        if split == "train":
            mean, log_variance = (np.stack([getattr(q, name) for q in seen]).astype(np.float64) for name in PARAMETERS)
    stored, axes = load_statistics(run_in(alone)), (0, 1, 2)
    assert stored.mean.numpy() == pytest.approx(mean.mean(axes), rel=1e-5, abs=1e-6)
    assert stored.std.numpy() == pytest.approx(np.sqrt(mean.var(axes) + np.exp(log_variance).mean(axes)), rel=1e-5)


def test_two_processes_write_the_same_bits_as_one(alone, store):
    assert in_two_processes(store) == [0, 0]
    assert run_in(store).result()["files"] == run_in(alone).result()["files"]
    assert run_in(store).status()["attempts"][-1]["environment"]["world_size"] == 2


def test_killed_in_two_processes_it_goes_on_in_one_and_keeps_what_is_whole(alone, store):
    codes = in_two_processes(store, shards=2)
    assert all(codes)
    assert -signal.SIGKILL in codes
    kept = last_files(store)
    assert len(kept) == 4
    assert len(list(run_in(store).folder.glob("*_mean_*.npy"))) > 4  # of a shard that is not whole
    with patched():
        assert perform_latents(store) == "done"
    assert run_in(store).result()["files"] == run_in(alone).result()["files"]
    assert last_files(store).items() > kept.items()


def test_stopped_in_a_shard_it_keeps_those_before(alone, store):
    calls = itertools.count()
    with patched():
        assert perform_latents(store, lambda: next(calls) == 9) == "stopped"  # in the second batch of the third shard
        kept = last_files(store)
        assert sorted(kept) == ["train_000000000.json", "train_000000032.json"]
        assert len(list(run_in(store).folder.glob("*.npy"))) == 4
        assert perform_latents(store) == "done"
    assert run_in(store).result()["files"] == run_in(alone).result()["files"]
    assert last_files(store).items() > kept.items()


@pytest.mark.parametrize("name", ["train_mean_000000064.npy", "train_log_variance_000000224.npy"])
def test_a_damaged_shard_is_told_and_made_again_alone(name, alone, tmp_path):
    shutil.copytree(alone, tmp_path / "store")
    run = run_in(tmp_path / "store")
    content = bytearray((run.folder / name).read_bytes())
    content[-9] ^= 1
    (run.folder / name).write_bytes(content)
    with pytest.raises(Damaged, match=f"{name} is damaged") as raised:
        Latents(run, "train", np.zeros(256), "cpu")
    Latents(run, "val", np.zeros(128), "cpu")
    assert raised.value.run is run
    before = last_files(tmp_path / "store")
    (run.folder / "train_mean.npy").write_bytes(b"of other code")
    run.reset("damaged")
    with patched():
        assert perform_latents(tmp_path / "store") == "done"
    assert run.result()["files"] == run_in(alone).result()["files"]
    after = last_files(tmp_path / "store")
    assert [last for last in before if before[last] != after[last]] == [f"train_{name[-13:-4]}.json"]


def test_a_shard_that_is_gone_is_told(alone, tmp_path):
    shutil.copytree(alone, tmp_path / "store")
    (run_in(tmp_path / "store").folder / "val_mean_000000096.npy").unlink()
    with pytest.raises(Damaged, match=r"val_mean_000000096\.npy is gone"):
        Latents(run_in(tmp_path / "store"), "val", np.zeros(128), "cpu")


def test_a_shard_counts_where_it_is_whole_and_made_from_the_same(tmp_path):
    shard, sums = Shard("train", 32, 48), LatentMoments(Z)
    sums.add(posterior())
    arrays = {name: DRAWS.normal(name, 16, 2, L, Z).numpy().astype(np.float16) for name in PARAMETERS}
    assert shard.read(tmp_path, "this") is None
    shard.write(tmp_path, arrays, sums, "this")
    assert {path.name for path in tmp_path.iterdir()} == shard.names
    found = shard.read(tmp_path, "this")
    assert found.to_json() == sums.to_json()
    assert all(torch.equal(one, other) for one, other in zip(found.statistics(), sums.statistics(), strict=True))
    assert shard.read(tmp_path, "another") is None
    assert Shard("train", 32, 64).read(tmp_path, "this") is None
    (tmp_path / shard.array("mean")).unlink()
    assert shard.read(tmp_path, "this") is None


def test_a_shard_that_does_not_reach_the_first_process_is_told(tmp_path):
    with pytest.raises(Trouble, match="all processes have to share a disk"):
        stage._require([Shard("val", 0, 16)], tmp_path)


def test_images_are_read_batch_by_batch_and_errors_reach_the_reader():
    parts = []

    class Images:
        def __getitem__(self, part: slice) -> np.ndarray:
            if part.stop > 2000:
                raise Trouble("cannot be read")
            parts.append(part)
            return np.arange(part.start, part.stop)

    found = np.concatenate(list(stage._batches(Images(), Shard("train", 100, 1300))))
    assert found.tolist() == list(range(100, 1300))
    assert parts == [slice(100, 612), slice(612, 1124), slice(1124, 1300)]
    batches = stage._batches(Images(), Shard("train", 1000, 2100))
    with pytest.raises(Trouble):
        list(batches)


# What the generator sees


@pytest.mark.parametrize("ends", [(0, 12), (0, 1, 12), (0, 5, 6, 11, 12)])
def test_rows_across_shards_are_those_of_one_array(ends):
    plain = DRAWS.normal("rows", IMAGES, 2, L, Z).numpy().astype(np.float16)
    sharded = Sharded([plain[start:stop] for start, stop in itertools.pairwise(ends)])
    assert (sharded.shape, len(sharded)) == (plain.shape, len(plain))
    places = np.array([11, 0, 5, 5, 6, 1, 10, 4, 0, 5])
    views = np.array([0, 1, 1, 0, 1, 0, 1, 1, 0, 1])
    for where in ((places, views), (places, 1), (places[:1], 0), (np.arange(IMAGES), np.zeros(IMAGES, int))):
        assert sharded[where].dtype == np.float16
        assert np.array_equal(sharded[where], plain[where])
    for outside in (IMAGES, -1):
        with pytest.raises(IndexError):
            sharded[np.array([0, outside]), 0]


def test_latents_in_shards_are_those_in_one_file(alone, tmp_path):
    shutil.copytree(run_in(alone).folder, tmp_path / "latents" / "one")
    one = Store(tmp_path).run("latents", "one")
    for split, parameter in itertools.product(("train", "val"), PARAMETERS):
        together = whole(one, split, parameter)
        for path in one.folder.glob(f"{split}_{parameter}_*"):
            path.unlink()
        np.save(one.folder / f"{split}_{parameter}.npy", together)
    one.finish([], {})
    labels = np.arange(256)
    order = Order(256, 32, 0, "generator", FLOAT32)
    sharded, plain = (Latents(run, "train", labels, "cpu") for run in (run_in(alone), one))
    assert len(sharded.mean.array.arrays) == 8
    assert sharded.shape == plain.shape == (256, 2, L, Z)
    for step in range(3):
        for found, expected in zip(sharded.batch(order, step), plain.batch(order, step), strict=True):
            assert torch.equal(found, expected)
