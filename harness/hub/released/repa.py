"""SiT trained with REPA, on a grid of latents (REPA; Yu et al. 2025)."""

from __future__ import annotations

from torch import Tensor

from harness.hub.checkpoint import Checkpoint
from harness.hub.generator import GeneratorConfig
from harness.hub.layouts import dit

IGNORED = ("projectors.",)


def generator(released: Checkpoint) -> tuple[GeneratorConfig, dict[str, Tensor]]:
    """A SiT whose times run from data to noise, as ours."""
    config = dit.configured(released, "sit")
    return config, dit.state(released, config, backwards=False) | dit.sit_blocks(released, config.size)
