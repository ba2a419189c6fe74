"""Where the time of a step goes: the kinds of operators, as shares of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from harness.benchmarks.works import WARM_UP, WORKS, seconds
from harness.experiments.experiment import Experiment
from harness.system.machine import Machine

CALLS = 3
KINDS = {
    "matrix products": ("mm", "addmm", "bmm", "baddbmm"),
    "attention": ("_softmax", "_softmax_backward_data", "_scaled_dot_product", "_flash", "_efficient"),
    "convolutions": ("conv", "mkldnn_conv", "_conv", "cudnn_conv", "native_batch_norm"),
    "activations": ("gelu", "silu", "hardtanh", "leaky_relu", "relu", "sigmoid"),
    "norms": ("native_layer_norm", "native_group_norm", "_fused_rms_norm", "rsqrt"),
    "casts and copies": ("copy_", "_to_copy", "clone", "cat", "stack", "contiguous", "fill_", "zero_"),
    "optimiser, EMA, clipping": ("_fused_adamw", "_foreach", "lerp", "linalg_vector_norm", "Optimizer"),
    "sums and products": ("add", "mul", "sub", "div", "sum", "mean", "pow", "sqrt", "neg", "where", "clamp"),
}


def measure(experiment: Experiment, machine: Machine, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """A line for every work: the share in % of every kind of operator, by torch's profiler.

    `host` is the time of the CPU in no operator: Python, autograd, dispatch. On a GPU the shares are those of the time
    in which it computes, and there is no `host`.
    """
    for name in names:
        yield {"work": name, **_shares(experiment, machine, name)}


def _shares(experiment: Experiment, machine: Machine, name: str) -> dict[str, float]:
    from torch.profiler import ProfilerActivity, profile

    timed, on_gpu = WORKS[name](experiment, machine), machine.device == "cuda"
    seconds(timed.call, WARM_UP)
    with profile(activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]) as recorded:
        took = seconds(timed.call, CALLS)
    spent: Counter[str] = Counter()
    for event in recorded.key_averages():
        time = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        operator = event.key.removeprefix("aten::") if on_gpu or event.key.startswith("aten::") else ""
        spent[_kind(operator)] += time / 1e6
    whole = sum(spent.values()) if on_gpu else took
    shares = {kind: 100 * spent[kind] / whole for kind in (*KINDS, "other operators")}
    return shares if on_gpu else shares | {"host": 100 - sum(shares.values())}


def _kind(operator: str) -> str:
    """The kind of an operator; "" for what the profiler records besides them."""
    if not operator:
        return ""
    return next((kind for kind, names in KINDS.items() if operator.startswith(names)), "other operators")
