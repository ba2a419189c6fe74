"""The table of works: time, FLOPs, memory, launches and waits of each."""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator, Sequence
from typing import Any

from harness.benchmarks.counting import counted
from harness.benchmarks.flop_counter import counted_flops
from harness.benchmarks.works import WARM_UP, WORKS, seconds
from harness.experiments.experiment import Experiment
from harness.system.machine import Machine, forget_peak_memory, matrix_product_peak, peak_memory_bytes

ROUNDS = 5
LEAST_SECONDS = 0.5  # of a round
MIB = 2**20


def works(experiment: Experiment, machine: Machine, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """A line for every work.

    The peak of matrix products is measured before and after each work, because the speed of a machine drifts. FLOPs are
    those that are executed, backward passes included. `busy %` is the share of the time in which a GPU has work.
    """
    for name in names:
        yield {"work": name, **_measured(experiment, machine, name)}


def _measured(experiment: Experiment, machine: Machine, name: str) -> dict[str, Any]:
    gc.collect()
    forget_peak_memory()
    forget_device_memory(machine)
    timed = WORKS[name](experiment, machine)
    seconds(timed.call, WARM_UP)
    memory = {"MiB": peak_memory_bytes() / MIB, "device MiB": device_mib(machine)}
    counts, flops = counted(timed.call), counted_flops(timed.call)
    before = matrix_product_peak(machine, timed.dtype)
    calls = max(1, math.ceil(LEAST_SECONDS / seconds(timed.call, 1)))
    best = sorted(seconds(timed.call, calls) / calls for _ in range(ROUNDS))
    after = matrix_product_peak(machine, timed.dtype)
    median = best[ROUNDS // 2]
    return {
        "dtype": timed.dtype,
        "items/s": timed.items / median,
        "ms": 1000 * median,
        "fastest ms": 1000 * best[0],
        "GFLOP/item": flops / timed.items / 1e9,
        "% of peak": 100 * flops / median / ((before + after) / 2),
        "peak GFLOP/s": f"{min(before, after) / 1e9:.0f}-{max(before, after) / 1e9:.0f}",
        **memory,
        "busy %": _busy(timed.call, machine),
        "launches": counts.launches,
        "waits": counts.waits,
    }


def forget_device_memory(machine: Machine) -> None:
    """Restarts the count of `device_mib`."""
    if machine.device == "cuda":
        import torch

        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def device_mib(machine: Machine) -> float | None:
    """The peak of the tensors on a GPU, in MiB; None on the CPU."""
    if machine.device != "cuda":
        return None
    import torch

    return torch.cuda.max_memory_allocated() / MIB


def _busy(call: Any, machine: Machine) -> float | None:
    """The share of the time in % in which the GPU has work; None without one."""
    if machine.device != "cuda":
        return None
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as recorded:
        took = seconds(call, 3)
    return 100 * sum(event.self_device_time_total for event in recorded.key_averages()) / 1e6 / took
