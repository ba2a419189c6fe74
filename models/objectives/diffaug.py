"""Differentiable augmentation of a discriminator's inputs (Zhao et al. 2020): colour, translation, cut-out."""

from __future__ import annotations

import torch
from torch import Tensor

from models.objectives.masking import Draws

REACH = 1 / 8  # the largest translation along either axis, as a share of the side
CUT_OUT = 0.2  # the side of the cut-out square, as a share of the side (MacTok App. B)
AXES = ("rows", "columns")


def augmented(x: Tensor, draws: Draws, name: str) -> Tensor:
    """Square images x (B, 3, H, H) in [-1, 1], each with its own random augmentation; they may leave the range.

    The same `name` and draws give the same augmentation, for images and their reconstructions, for a batch and its
    parts. Gradients flow to x. Pixels that are translated in or cut out are 0, which is grey.
    """

    def u(quantity: str) -> Tensor:
        return draws.uniform(f"{name}, {quantity}", len(x))

    side = x.shape[-1]
    reach, cut = round(REACH * side), round(CUT_OUT * side)
    shifts = (whole(u(f"translation of {axis}"), 2 * reach + 1) - reach for axis in AXES)
    # Every pixel is equally likely to be the middle of the square; the square may extend beyond the border.
    corners = (whole(u(f"{axis} of cut-out"), side + 1 - cut % 2) - cut // 2 for axis in AXES)
    x = coloured(x, u("brightness") - 0.5, 2 * u("saturation"), u("contrast") + 0.5)
    return cut_out(translated(x, *shifts), cut, *corners)


def whole(u: Tensor, n: int) -> Tensor:
    """Whole numbers 0 .. n - 1, equally likely, from u ~ U[0, 1)."""
    return (u * n).long()


def coloured(x: Tensor, brightness: Tensor, saturation: Tensor, contrast: Tensor) -> Tensor:
    """Images plus `brightness` (B,), their distances from grey times `saturation`, from their mean times `contrast`."""
    x = x + _each(brightness)
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * _each(saturation)
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + (x - mean) * _each(contrast)


def _each(factor: Tensor) -> Tensor:
    return factor[:, None, None, None]


def translated(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Images moved down by `rows` (B,) and right by `columns` (B,) pixels; uncovered pixels are 0.

    Computed as products with matrices of zeros and ones: exact in float32, with a deterministic gradient on every
    device. Gathering pixels would be slower where it is deterministic.
    """
    positions = torch.arange(x.shape[-1], device=x.device)

    def shift(by: Tensor) -> Tensor:  # (B, 1, H, H)
        return (positions[:, None] - by[:, None, None] == positions).to(x.dtype)[:, None]

    with torch.autocast(x.device.type, enabled=False):
        return shift(rows) @ x @ shift(columns).mT


def cut_out(x: Tensor, side: int, row: Tensor, column: Tensor) -> Tensor:
    """Images with a square of `side` pixels set to 0, its upper left corner at `row` (B,) and `column` (B,)."""
    positions = torch.arange(x.shape[-1], device=x.device)

    def hidden(start: Tensor) -> Tensor:  # (B, H)
        return (positions >= start[:, None]) & (positions < start[:, None] + side)

    return x.masked_fill((hidden(row)[:, :, None] & hidden(column)[:, None, :])[:, None], 0)
