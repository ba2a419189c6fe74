"""Kernels that a call launches, and how often the host waits for the device in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

# A GPU has to finish its work before any of these can return: operators whose results the host reads, and functions
# and methods that read tensors, or send what Python holds from memory that can be swapped out.
WAITING = {
    *("_local_scalar_dense", "is_nonzero", "equal"),
    *("nonzero", "masked_select", "bincount", "_unique2", "unique_dim", "unique_consecutive"),
}
WAITING_METHODS = {"tolist", "cpu", "__index__"}
SENDING = {"tensor", "as_tensor", "asarray", "new_tensor"}
INDEXING = {"__getitem__", "__setitem__"}
FREE = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "detach", "device", "lift_fresh"}


class Counts(NamedTuple):
    """The operators of a call that launch a kernel, about one each, and those for which the host waits."""

    launches: int
    waits: int


def _by_mask(args: Any) -> bool:
    """Whether an operator indexes with a mask: the size of its result is then unknown before the mask is read."""
    import torch

    masks = (index for arg in args if isinstance(arg, list | tuple) for index in arg if index is not None)
    return any(isinstance(mask, torch.Tensor) and mask.dtype in (torch.bool, torch.uint8) for mask in masks)


def _sends(name: str, args: Any) -> bool:
    """Whether a function makes a tensor of numbers that Python holds, on whichever device."""
    import torch

    if name in SENDING:
        return not isinstance(args[name == "new_tensor"], torch.Tensor)
    if name not in INDEXING:
        return False
    index = args[1] if isinstance(args[1], tuple) else (args[1],)
    return any(isinstance(part, list) for part in index)


def counted(call: Callable[[], object]) -> Counts:
    """The counts of a call. They are the same on the CPU, where nothing has to be waited for, as on a GPU."""
    from torch.overrides import TorchFunctionMode
    from torch.utils._python_dispatch import TorchDispatchMode

    launches = waits = 0

    class Operators(TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal launches, waits
            name = function._schema.name.partition("::")[2]
            waits += name in WAITING or (name.startswith("index") and _by_mask(args))
            launches += not (function.is_view or name in FREE or name in WAITING)
            return function(*args, **(kwargs or {}))

    class Methods(TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal waits
            name = getattr(function, "__name__", "")
            waits += name in WAITING_METHODS or _sends(name, args)
            return function(*args, **(kwargs or {}))

    with Methods(), Operators():
        call()
    return Counts(launches, waits)
