"""Rows that are sent in advance: equal batches, one step ahead; a jump or a failure leaves nothing behind."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.data import indexed as indexed_module
from harness.data.indexed import IndexedImages
from harness.system.errors import Trouble
from harness.system.machine import Machine
from harness.system.randomness import WHOLE, Part
from harness.training.ahead import Ahead, OwnStream, Rows, Sent
from harness.training.batches import Batches
from tests.encoded import opened, save_folders

HALVES = [Part(0, 2), Part(1, 2)]
IMAGES = 10


class Lane:
    """In place of a stream: rows are copied, and it is known when."""

    def __init__(self) -> None:
        self.sent: list[Rows] = []
        self.taken = 0
        self.threads: set[int] = set()

    def send(self, rows: Rows) -> Sent:
        self.threads.add(threading.get_ident())
        self.sent.append(tuple(part.clone() for part in rows))
        return Sent(self.sent[-1], None)  # type: ignore[arg-type]

    def take(self, sent: Sent) -> Rows:
        self.taken += 1
        return sent.rows


def of(images: np.ndarray | IndexedImages) -> Batches:
    return Batches(images, 4, 0, "tokenizer", Machine("cpu", "float32", 1))  # type: ignore[arg-type]


def ahead(images: np.ndarray | IndexedImages, lane: Lane) -> Batches:
    batches = of(images)
    batches.ahead = Ahead(batches._reading, lane)
    return batches


@pytest.fixture(params=["arrays", "files"])
def images(request: pytest.FixtureRequest, tmp_path: Path) -> np.ndarray | IndexedImages:
    if request.param == "arrays":
        return np.random.default_rng(0).integers(0, 256, (IMAGES, 2, 2, 3), dtype=np.uint8)
    return opened("imagenet", save_folders(tmp_path / "imagenet"), tmp_path / "index").images


@pytest.mark.parametrize("parts", [[WHOLE], HALVES], ids=["whole", "halves"])
def test_batches_are_equal_and_one_step_ahead(images, parts):
    lane = Lane()
    sent, plain = ahead(images, lane), of(np.array(images))
    for step in range(9):  # over the ends of epochs
        for part in parts:
            one, other = sent(step, part), plain(step, part)
            assert all(torch.equal(getattr(one, f), getattr(other, f)) for f in ("x", "indices", "flips")), step
        assert lane.taken == len(parts) * (step + 1)
        for begun in sent.ahead.begun.values():
            begun.result()
        assert len(lane.sent) == len(parts) * (step + 2)
    assert lane.threads and threading.get_ident() not in lane.threads


def test_calls_may_jump(images):
    lane = Lane()
    sent, plain = ahead(images, lane), of(np.array(images))
    for step, part in [(0, WHOLE), (0, HALVES[1]), (20, HALVES[0]), (3, WHOLE), (3, WHOLE), (5, HALVES[0]), (4, WHOLE)]:
        assert torch.equal(sent(step, part).x, plain(step, part).x)
        assert all(step <= begun <= step + 1 for begun, _ in sent.ahead.begun)


def test_trouble_is_told_and_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(indexed_module, "WAITS_SECONDS", ())
    root = save_folders(tmp_path / "imagenet")
    sent = ahead(opened("imagenet", root, tmp_path / "index").images, Lane())
    sent(0)
    root.rename(tmp_path / "elsewhere")
    with pytest.raises(Trouble, match="cannot be read in"):
        for step in range(1, 9):
            sent(step)
    assert not sent.ahead.begun


def test_a_process_ends_though_rows_are_on_their_way(tmp_path):
    save_folders(tmp_path / "imagenet")
    opened("imagenet", tmp_path / "imagenet", tmp_path / "index")
    code = (
        "from pathlib import Path; from harness.data.splits import open_split;"
        "from tests.training.test_ahead import Lane, ahead;"
        f"images = open_split(Path({str(tmp_path / 'index')!r}), 'train').images;"
        "ahead(images, Lane())(0); 1 / 0"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and done.stderr.rstrip().endswith("ZeroDivisionError: division by zero")


def test_the_cpu_sends_nothing(images):
    before = set(threading.enumerate())
    batches = of(images)
    assert batches.ahead is None
    if not isinstance(images, IndexedImages):
        batches(0)
        assert set(threading.enumerate()) <= before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gets_the_same_rows():
    rows = np.random.default_rng(0).integers(0, 256, (64, 8, 8, 3), dtype=np.uint8)
    sent = Ahead(lambda step, part: lambda: (torch.from_numpy(rows[step::8]),), OwnStream())
    for step in range(7):
        (found,) = sent(step, WHOLE)
        assert found.is_cuda and torch.equal(found.cpu(), torch.from_numpy(rows[step::8]))
