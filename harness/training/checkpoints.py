"""Checkpoints of a training: all that going on exactly takes."""

from __future__ import annotations

import hashlib
import io
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import torch
from torch import nn

from harness.planning.stage import Work
from harness.store.runs import Run
from harness.system.files import replacing

if TYPE_CHECKING:
    from harness.training.adversary import Adversary


CHECKPOINT_SECONDS = 60.0  # at least so long between two, and so that they take a twentieth of the time at most


class Learning(NamedTuple):
    """All that changes in a training."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    ema: nn.Module
    adversary: Adversary | None


class Saving:
    """Checkpoints of everything that resuming takes; no random state, as every draw is a function of the step."""

    def __init__(self, work: Work, learning: Learning):
        self.work, self.learning = work, learning
        self.seconds, self.at = 0.0, time.monotonic()

    @property
    def due(self) -> bool:
        """Whether the last one was long ago, for the time that it took."""
        return time.monotonic() - self.at > max(CHECKPOINT_SECONDS, 20 * self.seconds)

    def __call__(self, step: int) -> None:
        began = time.monotonic()
        if self.work.processes.first:
            model, optimizer, ema, adversary = self.learning
            state = {
                "step": step,
                "model": {name: p for name, p in model.named_parameters() if p.requires_grad},
                "optimizer": optimizer.state_dict(),
                "ema": ema.state_dict(),
                "adversary": adversary.state_dict() if adversary is not None else None,
                "metrics": self.work.run.metrics_mark(),
            }
            write_checkpoint(self.work.run.folder / "checkpoint.pt", state)
        self.at = time.monotonic()
        self.seconds = self.at - began


def restore(work: Work, learning: Learning) -> int:
    """The step to go on at."""
    state = work.processes.from_first(_saved(work.run) if work.processes.first else None)
    if state is None:
        return 0
    with torch.no_grad():
        for name, p in learning.model.named_parameters():
            if p.requires_grad:
                p.copy_(state["model"][name])
    learning.optimizer.load_state_dict(state["optimizer"])
    learning.ema.load_state_dict(state["ema"])
    if learning.adversary is not None:
        learning.adversary.load_state_dict(state["adversary"])
    return state["step"]


def _saved(run: Run) -> dict[str, Any] | None:
    """The checkpoint, if there is one; a damaged one is told and training starts again, to the same end."""
    path = run.folder / "checkpoint.pt"
    if not path.exists():
        return None
    try:
        state = read_checkpoint(path)
        run.rewind_metrics(state["metrics"])
    except ValueError:
        print(f"{path} is damaged: training starts again from step 0", file=sys.stderr)
        return None
    return state


class _Hashed:
    """A file that is written from front to back, and the checksum of what went into it: nothing is held in memory."""

    def __init__(self, file: BinaryIO):
        self.file, self.sha256 = file, hashlib.sha256()

    def write(self, content: Any) -> int:
        self.sha256.update(content)
        return self.file.write(content)

    def flush(self) -> None:
        self.file.flush()


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Replaces `path` by the checksum of `state` and `state`."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(bytes(32))
        hashed = _Hashed(file)
        torch.save(state, hashed)  # type: ignore[arg-type]
        file.seek(0)
        file.write(hashed.sha256.digest())


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The state in `path`, tensors and plain values only; raises ValueError where the file was damaged."""
    stored = path.read_bytes()
    digest, content = stored[:32], stored[32:]
    if hashlib.sha256(content).digest() != digest:
        raise ValueError(f"{path} is damaged")
    return torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
