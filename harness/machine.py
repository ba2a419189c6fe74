"""The machine that a stage runs on: device, dtype, threads, by stated rules; and the environment to record.

Rules: the CUDA device of this process's local rank if there is one, else the CPU. bfloat16 autocast where the hardware
multiplies it natively (CUDA compute capability 8.0, CPUs with AMX or AVX-512 BF16), else float32. Threads: the cores
that this process may use, or OMP_NUM_THREADS where it is set.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "torch-fidelity",
    "lpips",
    "numpy",
    "scikit-learn",
    "scikit-image",
    "pillow",
)
CHECKOUT = Path(__file__).resolve().parent.parent
PRODUCTS = 21  # of matrices, of which the fastest counts
VERSION = "version.json"  # in a snapshot of the code


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


def cores() -> int:
    """The cores that this process may use; only Linux tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux: no native bfloat16 that we know of
        return set()
    return set(next((line for line in lines if line.startswith("flags")), "").split())


def environment(machine: Machine) -> dict[str, Any]:
    """What is recorded with every attempt: machine, versions, commit and the changes on top of it."""
    return {
        "device": machine.device,
        "dtype": machine.dtype,
        "threads": machine.threads,
        "host": platform.node(),
        "processor": _processor(machine),
        "python": platform.python_version(),
        "versions": {package: version(package) for package in PACKAGES},
        **code_version(),
    }


def code_version() -> dict[str, Any]:
    """{"commit", "uncommitted"}: the commit of this checkout, and the diff and new files on top of it ("" if none).

    A snapshot of the code has them from the checkout that it was taken of.
    """
    if (CHECKOUT / VERSION).exists():
        stored: dict[str, Any] = json.loads((CHECKOUT / VERSION).read_text())
        return stored

    def git(*words: str) -> str:
        command = ["git", "-C", str(CHECKOUT), *words]
        try:
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError):  # no git here, or not a checkout
            return ""

    changes = [git("diff", "HEAD"), git("ls-files", "--others", "--exclude-standard")]
    return {"commit": git("rev-parse", "HEAD") or "unknown", "uncommitted": "\n".join(filter(None, changes))}


def _processor(machine: Machine) -> str:
    if machine.device == "cuda":
        import torch

        return torch.cuda.get_device_name()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
