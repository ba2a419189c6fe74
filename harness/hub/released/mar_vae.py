"""MAR-VAE (mar; Li et al. 2024)."""

from __future__ import annotations

from harness.hub.checkpoint import Checkpoint, Converted
from harness.hub.layouts import convolutional

IGNORED = convolutional.IGNORED


def tokenizer(released: Checkpoint, image_size: int | None) -> Converted:
    """A convolutional tokenizer; the coarsest level of the encoder attends."""
    return convolutional.converted(released, "mar_vae", image_size)
