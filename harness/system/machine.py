"""The machine that a stage runs on: device, dtype, threads, by stated rules; and the environment to record.

Rules: the CUDA device of this process's local rank if there is one, else the CPU. bfloat16 autocast where the hardware
multiplies it natively (CUDA compute capability 8.0, CPUs with AMX or AVX-512 BF16), else float32. Threads: the cores
that this process may use, or OMP_NUM_THREADS where it is set.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

PRODUCTS = 21  # of matrices, of which the fastest counts


@dataclass(frozen=True)
class Machine:
    """Where and in which precision tensors are computed."""

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
        return tensor.to(self.device)

    def __str__(self) -> str:
        return f"{self.device}, {self.dtype}, {self.threads} threads"


def this_machine() -> Machine:
    """The machine by the rules above; sets torch's threads and its deterministic kernels."""
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what deterministic matrix products need on CUDA
    threads = int(os.environ.get("OMP_NUM_THREADS", "").partition(",")[0] or cores())
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    # Nothing here reads memory that it has not written, and filling it takes time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        torch.backends.cudnn.allow_tf32 = False  # float32 means float32
        native = torch.cuda.get_device_capability() >= (8, 0)
        return Machine("cuda", "bfloat16" if native else "float32", threads)
    flags = _cpu_flags()
    native = "amx_bf16" in flags or "avx512_bf16" in flags
    return Machine("cpu", "bfloat16" if native else "float32", threads)


def timed(call: Callable[[], object]) -> float:
    """The seconds that a call takes, what it has a GPU do included."""
    import torch

    began = time.perf_counter()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def matrix_product_peak(machine: Machine, dtype: str) -> float:
    """FLOP/s of the best of several products of square matrices: what utilisation is a share of."""
    import torch

    side = 2048 if machine.device == "cpu" else 8192
    a = torch.randn(side, side, device=machine.device, dtype=getattr(torch, dtype))
    torch.mm(a, a)
    return 2 * side**3 / min(timed(lambda: torch.mm(a, a)) for _ in range(PRODUCTS))


def forget_peak_memory() -> None:
    """From here on `peak_memory_bytes` counts anew, where the system is Linux."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory_bytes() -> int:
    """The most memory that this process had resident; outside Linux, since it was started and with its parent's."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
    except (OSError, StopIteration):
        import resource

        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def cores() -> int:
    """The cores that this process may use; only Linux tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux: no native bfloat16 that we know of
        return set()
    return set(next((line for line in lines if line.startswith("flags")), "").split())
