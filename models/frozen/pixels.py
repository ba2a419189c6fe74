"""A teacher without a network: the pixels themselves."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from models.objectives.alignment import Features

CELLS = 4  # on a side of a patch, and of the whole image for the class token


def pixel_features(x: Tensor, patches: int) -> Features:
    """Features of images x (B, 3, H, H) for a grid of `patches` x `patches` image tokens.

    p_i are the colours (48) of 4 x 4 cells of a patch, less the mean colour of the image; c are those of the image; the
    score is the standard deviation of p_i.
    """
    centred = x.float() - x.float().mean((2, 3), keepdim=True)
    cells = functional.interpolate(centred, size=(CELLS * patches,) * 2, mode="area")
    p = functional.unfold(cells, CELLS, stride=CELLS).mT
    return Features(functional.adaptive_avg_pool2d(centred, CELLS).flatten(1), p, p.std(-1))
