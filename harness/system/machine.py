"""The machine that a stage runs on: device, dtype and threads, by fixed rules.

Device: the CUDA device of this process's local rank if there is one, else the CPU. Dtype: bfloat16 autocast if the
hardware multiplies it natively (CUDA compute capability 8.0, CPUs with AMX or AVX-512 BF16), else float32. Threads:
OMP_NUM_THREADS if it is set, else the cores that this process may use.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.system import surroundings
from harness.system.processes import local_rank
from harness.system.texts import counted

if TYPE_CHECKING:
    import torch

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # of mallopt(3)
MEMORY = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}  # read when a process starts
PRODUCTS = 21  # matrix products; the fastest one counts


@dataclass(frozen=True)
class Machine:
    """The device, the precision and the number of threads of computations."""

    device: str
    dtype: str
    threads: int

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Matrix products in `dtype`; weights and sums stay in float32."""
        import torch

        if self.dtype == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.device, dtype=getattr(torch, self.dtype))

    def put(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor on this machine's device."""
        return on(tensor, self.device)

    def __str__(self) -> str:
        return f"{self.device}, {self.dtype}, {counted(self.threads, 'thread')}"


def on(tensor: torch.Tensor, device: str) -> torch.Tensor:
    """The tensor on a device. A copy to a GPU is not waited for: it comes from memory that cannot be swapped out."""
    if tensor.device.type == device:
        return tensor
    if device == "cpu":
        return tensor.cpu()
    return tensor.pin_memory().to(device, non_blocking=True)


def this_machine() -> Machine:
    """The machine by the rules above; sets torch's threads and its deterministic kernels."""
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # deterministic matrix products on CUDA need it
    torch.set_num_threads(threads())
    _keep_memory()
    torch.use_deterministic_algorithms(True)
    # No code here reads memory before it writes it, and filling memory takes time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank() % torch.cuda.device_count())
        torch.backends.cudnn.allow_tf32 = False  # float32 means float32
        native = torch.cuda.get_device_capability() >= (8, 0)
        return Machine("cuda", "bfloat16" if native else "float32", threads())
    flags = _cpu_flags()
    native = "amx_bf16" in flags or "avx512_bf16" in flags
    return Machine("cpu", "bfloat16" if native else "float32", threads())


def _keep_memory() -> None:
    """Lets glibc keep the memory that tensors free: a sixth of a step on the CPU was the system filling it anew.

    Where glibc is not the C library, nothing happens. Processes that are started with `MEMORY` also get large pages.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        for parameter, size in ((M_MMAP_THRESHOLD, 2**25), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 2**26)):
            mallopt(parameter, size)


def timed(call: Callable[[], object]) -> float:
    """The seconds that a call takes, including its work on a GPU."""
    import torch

    began = time.perf_counter()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def matrix_product_peak(machine: Machine, dtype: str) -> float:
    """FLOP/s of the fastest of several products of square matrices; utilisation is a share of it."""
    import torch

    side = 2048 if machine.device == "cpu" else 8192
    a = torch.randn(side, side, device=machine.device, dtype=getattr(torch, dtype))
    torch.mm(a, a)
    return 2 * side**3 / min(timed(lambda: torch.mm(a, a)) for _ in range(PRODUCTS))


def forget_peak_memory() -> None:
    """Restarts the count of `peak_memory_bytes`, on Linux only."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory_bytes() -> int:
    """The peak resident memory of this process; outside Linux, since its start and including its parent's peak."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
    except (OSError, StopIteration):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak  # macOS counts in bytes


def threads() -> int:
    """The threads that this process may use, by the rule above."""
    return surroundings.threads() or cores()


def cores() -> int:
    """The cores that this process may use; outside Linux, all cores."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux: native bfloat16 is unknown
        return set()
    return set(next((line for line in lines if line.startswith("flags")), "").split())
