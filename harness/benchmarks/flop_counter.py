"""FLOPs as torch counts them, attention on the CPU included."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def counted_flops(call: Callable[[], object]) -> float:
    """The FLOPs of a call: products of matrices, convolutions and attention.

    torch's counter passes over the fused attention kernel of the CPU, which this adds.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

    def forward(q: Any, k: Any, v: Any, *_: Any, **__: Any) -> int:
        return int(sdpa_flop_count(q, k, v))

    def backward(gradient: Any, q: Any, k: Any, v: Any, *_: Any, **__: Any) -> int:
        return int(sdpa_backward_flop_count(gradient, q, k, v))

    kernels = {
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: forward,
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: backward,
    }
    with FlopCounterMode(display=False, custom_mapping=kernels) as counter:
        call()
    return float(counter.get_total_flops())
