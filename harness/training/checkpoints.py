"""Checkpoints of a training: everything that an exact resume needs."""

from __future__ import annotations

import hashlib
import io
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import torch
from torch import nn

from harness.networks.tensor_files import read_state
from harness.planning.stage import Work
from harness.store.runs import Damaged, Run
from harness.system.files import replacing

if TYPE_CHECKING:
    from harness.training.adversary import Adversary


CHECKPOINT_SECONDS = 60.0  # least time between two; they also take at most a twentieth of the time


class TrainingState(NamedTuple):
    """Everything that changes in a training: the objective, the optimiser, the moving average, the discriminator."""

    objective: nn.Module
    optimizer: torch.optim.Optimizer
    ema: nn.Module
    opponent: Adversary | None

    def state_dict(self) -> dict[str, Any]:
        """The state as tensors and plain values, without frozen parameters."""
        return {
            "model": {name: p for name, p in self.objective.named_parameters() if p.requires_grad},
            "optimizer": self.optimizer.state_dict(),
            "ema": self.ema.state_dict(),
            "adversary": self.opponent.state_dict() if self.opponent is not None else None,
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restores the state that `state_dict` returned."""
        with torch.no_grad():
            for name, p in self.objective.named_parameters():
                if p.requires_grad:
                    p.copy_(saved["model"][name])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.ema.load_state_dict(saved["ema"])
        if self.opponent is not None:
            self.opponent.load_state_dict(saved["adversary"])


class CheckpointWriter:
    """Writes checkpoints of `state`. They hold no random state, as every draw is a function of the step."""

    def __init__(self, work: Work, state: TrainingState):
        self.work, self.state = work, state
        self.seconds, self.written_at = 0.0, time.monotonic()

    @property
    def due(self) -> bool:
        """Whether the last checkpoint is old enough, given the time that it took to write."""
        return time.monotonic() - self.written_at > max(CHECKPOINT_SECONDS, 20 * self.seconds)

    def __call__(self, step: int) -> None:
        began = time.monotonic()
        if self.work.processes.first:
            content = {"step": step, **self.state.state_dict(), "metrics": self.work.run.curves.mark()}
            write_checkpoint(self.work.run.folder / "checkpoint.pt", content)
        self.written_at = time.monotonic()
        self.seconds = self.written_at - began


def restore(work: Work, state: TrainingState) -> int:
    """Restores `state` from the checkpoint of the run, if there is one; returns the step to continue at."""
    saved = work.processes.from_first(_saved(work.run) if work.processes.first else None)
    if saved is None:
        return 0
    try:
        state.load_state_dict(saved)
        return int(saved["step"])
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, IndexError):  # a part of it may be restored
        if work.processes.first:
            (work.run.folder / "checkpoint.pt").unlink(missing_ok=True)
        raise Damaged(work.run, "checkpoint.pt", "does not fit the training, which starts again") from None


def _saved(run: Run) -> dict[str, Any] | None:
    """The checkpoint, if there is one. A damaged one is reported; training starts again, with the same result."""
    path = run.folder / "checkpoint.pt"
    if not path.is_file():
        return None
    try:
        state = read_checkpoint(path)
        run.curves.rewind(state["metrics"])
    except (ValueError, KeyError, TypeError):
        print(f"{path} is damaged: training starts again from step 0", file=sys.stderr)
        return None
    return state


class _Hashed:
    """A file that is written from front to back, with the checksum of its content; it holds nothing in memory."""

    def __init__(self, file: BinaryIO):
        self.file, self.sha256 = file, hashlib.sha256()

    def write(self, content: Any) -> int:
        self.sha256.update(content)
        return self.file.write(content)

    def flush(self) -> None:
        self.file.flush()


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes the checksum of `state`, then `state`, in place of `path`."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(bytes(32))
        hashed = _Hashed(file)
        torch.save(state, hashed)  # type: ignore[arg-type]
        file.seek(0)
        file.write(hashed.sha256.digest())


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The state in `path`, tensors and plain values only; raises ValueError if the file is damaged."""
    stored = path.read_bytes()
    digest, content = stored[:32], stored[32:]
    if hashlib.sha256(content).digest() != digest:
        raise ValueError(f"{path} is damaged")
    state: dict[str, Any] = read_state(io.BytesIO(content))
    return state
