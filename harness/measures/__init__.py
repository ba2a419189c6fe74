"""Networks that judge images, one file each, found by name: each looks once, for all metrics. A measure module offers

    title: str                         the network and the layer of its features, for records and tables
    short: str                         the network in a word, for the heads of tables
    about: str                         one line
    default_px: int | None             side in pixels that images are resized to; None where the caller has to say
    resizing: str                      how, for protocols
    features: int                      width D of the pooled features
    spatial: int | None                width of the features that keep their places (sFID's); None where it has none
    classes: int | None                width C of the logits; None where it has none
    weights_file(given) -> Path        where its weights are: `given`, else where they are looked for; raises `Mistake`
    checksum(path) -> str              the first 12 hexadecimal digits of the SHA-256 of a file
    load(machine, side, weights) -> (Tensor -> Seen)
                                       the network, which takes uint8 images (n, 3, H, W) of any size and sees all of
                                       them in one pass: callers split what does not fit in memory. Raises `Mistake` for
                                       weights that are missing or are not its own, and for a side it cannot look at

Weights that do not come with a package are those of `harness.pretrained`, which says where they are looked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from harness.pretrained import checksum as checksum

if TYPE_CHECKING:
    from torch import Tensor, nn

    from harness.machine import Machine

T = TypeVar("T")


class Seen(NamedTuple):
    """What a network says of n images, float32 on the CPU: features (n, D), logits (n, C), spatial features (n, S)."""

    features: Tensor
    logits: Tensor | None = None
    spatial: Tensor | None = None


@dataclass(frozen=True)
class Frozen(Generic[T]):
    """A network that only looks: in evaluation mode, without gradients and in float32, whatever surrounds it."""

    net: nn.Module
    machine: Machine
    see: Callable[..., T]  # what it says of batches on the machine's device

    def __call__(self, *images: Tensor) -> T:
        """What it says of uint8 batches (n, 3, H, W); raises ValueError for anything else."""
        import torch

        for x in images:
            if x.dtype != torch.uint8 or x.ndim != 4 or x.shape[1] != 3:
                raise ValueError(f"uint8 images (n, 3, H, W) are looked at, not {x.dtype} {tuple(x.shape)}")
        self.net.eval()  # a module that shares the network may have been put in training mode
        with torch.no_grad(), torch.autocast(self.machine.device, enabled=False):
            return self.see(*map(self.machine.put, images))
