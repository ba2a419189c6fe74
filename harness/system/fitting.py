"""The largest batch that the memory of a GPU holds, found by trying."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch

Result = TypeVar("Result")


class Batching:
    """Splits items into batches of `on_cpu`, or on a GPU of `on_gpu` or the largest part of it that fits.

    Where memory runs out, the batch is halved, from then on. Results of batches of other sizes differ by rounding.
    """

    def __init__(self, on_cpu: int, on_gpu: int):
        self.on_cpu, self.on_gpu = on_cpu, on_gpu

    def map(self, call: Callable[[Any], Result], items: Any) -> list[Result]:
        """The results of `call` for the batches of `items`, a sequence or a tensor, in order.

        Raises `torch.OutOfMemoryError` if a single item does not fit.
        """
        results, start = [], 0
        while start < len(items):
            size = self.on_gpu if torch.cuda.is_available() else self.on_cpu
            try:
                results.append(call(items[start : start + size]))
                start += size
                continue
            except torch.OutOfMemoryError:
                if size == 1:
                    raise
            self.on_gpu = size // 2  # after the exception, which holds what did not fit
        return results
