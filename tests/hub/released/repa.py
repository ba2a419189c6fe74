"""SiT trained with REPA."""

from __future__ import annotations

from tests.hub.layouts.dit import dit, dit_state, on_grid, sit_block, sit_mlps
from tests.hub.layouts.formulas import grid_of
from tests.hub.layouts.writer import CHANNELS, SIDE, WIDTH, Case, N


def repa() -> Case:
    w = dit_state(9, "x_embedder.proj", 2, CHANNELS, CHANNELS, N)
    sit_mlps(w)
    w.layer("projectors.0.0", 8, WIDTH)
    s = w.state
    return Case(
        s,
        velocity=lambda x, t, y: grid_of(dit(s, on_grid(s, x, 2), t, y, sit_block(s)), SIDE, 2).flatten(2).mT,
    )


CASES = {"repa": repa}
