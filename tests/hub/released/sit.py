"""SiT on a grid and on tokens in a line."""

from __future__ import annotations

from torch import Tensor

from tests.hub.layouts.dit import dit, dit_state, on_grid, sit_block, sit_mlps
from tests.hub.layouts.formulas import grid_of, linear
from tests.hub.layouts.writer import CHANNELS, LENGTH, SIDE, Case, N


def sit_on_a_line() -> Case:
    w = dit_state(7, "x_embedder", None, CHANNELS, CHANNELS, LENGTH)
    sit_mlps(w)
    s = w.state
    return Case(s, velocity=lambda x, t, y: dit(s, linear(s, "x_embedder", x), t, y, sit_block(s)))


def sit() -> Case:
    """SiT on patches of 2 x 2 places; it has a variance too, which nobody reads, and runs from noise to data."""
    w = dit_state(8, "x_embedder.proj", 2, CHANNELS, 2 * CHANNELS, N)
    sit_mlps(w)
    s = w.state

    def velocity(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        out = grid_of(dit(s, on_grid(s, x, 2), 1 - t, y, sit_block(s)), SIDE, 2)
        return -out[:, :CHANNELS].flatten(2).mT

    return Case(s, velocity=velocity)


CASES = {"sit": sit, "sit on a line": sit_on_a_line}
