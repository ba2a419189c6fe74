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

if TYPE_CHECKING:
    import torch

Value = TypeVar("Value")
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
    return int(os.environ.get("RANK", "0")) == 0


def world_size() -> int:
    """The number of processes that torchrun or a job started."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextlib.contextmanager
def joined() -> Iterator[Processes]:
    """The processes that WORLD_SIZE, RANK, MASTER_ADDR and MASTER_PORT define; gloo on the CPU, nccl on GPUs."""
    if world_size() == 1:
        yield ALONE
        return
    import torch
    import torch.distributed as distributed

    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(backend, timeout=WITHIN_STEP)
    try:
        group = distributed.new_group(backend="gloo", timeout=BETWEEN_STEPS)
        yield Processes(distributed.get_rank(), distributed.get_world_size(), group)
    finally:
        distributed.destroy_process_group()
