"""SiT on a grid of latents (SiT; Ma et al. 2024), and on tokens in a line (continuous_tokenizer)."""

from __future__ import annotations

from torch import Tensor

from harness.hub.checkpoint import Checkpoint
from harness.hub.generator import GeneratorConfig
from harness.hub.layouts import dit

IGNORED = ()


def generator(released: Checkpoint) -> tuple[GeneratorConfig, dict[str, Tensor]]:
    """A SiT. The one on a grid has times from noise to data; those on tokens were trained as REPA's are, as ours."""
    config = dit.configured(released, "sit")
    state = dit.state(released, config, backwards=config.side is not None)
    return config, state | dit.sit_blocks(released, config.size)
