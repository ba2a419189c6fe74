"""The processes that run one stage together: a single one, or all that torchrun or a job of several tasks started.

All run the same code on the same values, and each computes its part of the work. The first process writes to the folder
of the run; every other process writes to a folder that is thrown away.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from harness.system.errors import Mistake

if TYPE_CHECKING:
    import torch

Value = TypeVar("Value")
MOST_PROCESSES = 65_536
# Timeouts. Between steps the other processes wait while the first one makes the data set or waits for another command.
# Within a step a long wait means that a process is gone.
BETWEEN_STEPS, WITHIN_STEP = datetime.timedelta(days=7), datetime.timedelta(minutes=30)


@dataclass(frozen=True)
class Processes:
    """The rank of this process and the number of processes. A single process sends nothing and needs no torch."""

    rank: int = 0
    size: int = 1
    group: Any = field(default=None, compare=False)  # torch's process group for flags and Python objects

    @property
    def first(self) -> bool:
        """Whether this process keeps the results."""
        return self.rank == 0

    def any(self, flag: bool) -> bool:
        """Whether `flag` is true in any process; all processes get the same answer."""
        if self.size == 1:
            return flag
        import torch
        import torch.distributed as distributed

        flags = torch.tensor([flag], dtype=torch.uint8)
        distributed.all_reduce(flags, distributed.ReduceOp.MAX, group=self.group)
        return bool(flags.item())

    def gather(self, value: Value) -> list[Value]:
        """The values of all processes, by rank, in every process."""
        if self.size == 1:
            return [value]
        import torch.distributed as distributed

        values: list[Value] = [value] * self.size
        distributed.all_gather_object(values, value, group=self.group)
        return values

    def from_first(self, value: Value) -> Value:
        """The value of the first process, in every process."""
        if self.size == 1:
            return value
        import torch.distributed as distributed

        values = [value]
        distributed.broadcast_object_list(values, group=self.group)
        return values[0]

    def mean(self, tensor: torch.Tensor) -> torch.Tensor:
        """The mean of a tensor over the processes, in every process."""
        if self.size == 1:
            return tensor
        import torch.distributed as distributed

        total = tensor.clone()
        distributed.all_reduce(total)
        return total / self.size


ALONE = Processes()


def leading() -> bool:
    """Whether this is the first of the processes that torchrun started, each of which runs the whole command."""
    return world_size() == 1 or _rank() == 0


def local_rank() -> int:
    """The number of this process on its machine; 0 for a single process and without LOCAL_RANK."""
    return 0 if world_size() == 1 or not os.environ.get("LOCAL_RANK") else _number("LOCAL_RANK", world_size())


def world_size() -> int:
    """The number of processes that torchrun or a job started: WORLD_SIZE, 1 without it.

    Raises `Mistake` if WORLD_SIZE is no such number. Without it the other variables of torchrun have no influence.
    """
    if not os.environ.get("WORLD_SIZE", "").strip():
        return 1
    size = _number("WORLD_SIZE", MOST_PROCESSES + 1)
    if size == 0:
        raise Mistake("WORLD_SIZE=0: at least 1 process is needed; unset it if torchrun is not meant")
    return size


def _rank() -> int:
    """The number of this one of several processes. Raises `Mistake` if it or their address is missing or wrong."""
    rank = _number("RANK", world_size())
    _number("MASTER_PORT", 65536)
    if not os.environ.get("MASTER_ADDR", "").strip():
        raise Mistake(f"WORLD_SIZE={world_size()} without MASTER_ADDR: unset it if torchrun is not meant")
    return rank


def _number(variable: str, limit: int) -> int:
    """The number in an environment variable, from 0 to below `limit`. Raises `Mistake`."""
    text = os.environ.get(variable, "").strip()
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(limit)) and int(text) < limit):
        given = f"{variable}={text!r}" if text else f"no {variable} beside WORLD_SIZE"
        raise Mistake(f"{given}: a number below {limit} is needed; unset WORLD_SIZE if torchrun is not meant")
    return int(text)


@contextlib.contextmanager
def joined() -> Iterator[Processes]:
    """The processes that WORLD_SIZE, RANK, MASTER_ADDR and MASTER_PORT define; gloo on the CPU, nccl on GPUs."""
    if world_size() == 1:
        yield ALONE
        return
    _rank()
    import torch
    import torch.distributed as distributed

    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(backend, timeout=WITHIN_STEP)
    try:
        group = distributed.new_group(backend="gloo", timeout=BETWEEN_STEPS)
        yield Processes(distributed.get_rank(), distributed.get_world_size(), group)
    finally:
        distributed.destroy_process_group()
