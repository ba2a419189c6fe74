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


class TrainingState(NamedTuple):
    """All that changes in a training: what is trained, its optimiser, its moving average, and a discriminator."""

    objective: nn.Module
    optimizer: torch.optim.Optimizer
    ema: nn.Module
    opponent: Adversary | None

    def state_dict(self) -> dict[str, Any]:
        """The state as tensors and plain values, without parameters that are frozen."""
        return {
            "model": {name: p for name, p in self.objective.named_parameters() if p.requires_grad},
            "optimizer": self.optimizer.state_dict(),
            "ema": self.ema.state_dict(),
            "adversary": self.opponent.state_dict() if self.opponent is not None else None,
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Goes back to where `state_dict` was taken."""
        with torch.no_grad():
            for name, p in self.objective.named_parameters():
                if p.requires_grad:
                    p.copy_(saved["model"][name])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.ema.load_state_dict(saved["ema"])
        if self.opponent is not None:
            self.opponent.load_state_dict(saved["adversary"])


class Saving:
    """Checkpoints of everything that resuming takes; no random state, as every draw is a function of the step."""

    def __init__(self, work: Work, state: TrainingState):
        self.work, self.state = work, state
        self.seconds, self.at = 0.0, time.monotonic()

    @property
    def due(self) -> bool:
        """Whether the last one was long ago, for the time that it took."""
        return time.monotonic() - self.at > max(CHECKPOINT_SECONDS, 20 * self.seconds)

    def __call__(self, step: int) -> None:
        began = time.monotonic()
        if self.work.processes.first:
            content = {"step": step, **self.state.state_dict(), "metrics": self.work.run.curves.mark()}
            write_checkpoint(self.work.run.folder / "checkpoint.pt", content)
        self.at = time.monotonic()
        self.seconds = self.at - began


def restore(work: Work, state: TrainingState) -> int:
    """Brings `state` to where the checkpoint of the run left it, if there is one; the step to go on at."""
    saved = work.processes.from_first(_saved(work.run) if work.processes.first else None)
    if saved is None:
        return 0
    state.load_state_dict(saved)
    step: int = saved["step"]
    return step


def _saved(run: Run) -> dict[str, Any] | None:
    """The checkpoint, if there is one; a damaged one is told and training starts again, to the same end."""
    path = run.folder / "checkpoint.pt"
    if not path.exists():
        return None
    try:
        state = read_checkpoint(path)
        run.curves.rewind(state["metrics"])
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
