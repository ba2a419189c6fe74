"""VA-VAE (LightningDiT; Yao et al. 2025)."""

from __future__ import annotations

from harness.hub.checkpoint import Checkpoint, Converted
from harness.hub.layouts import convolutional

IGNORED = convolutional.IGNORED


def tokenizer(released: Checkpoint, image_size: int | None) -> Converted:
    """A convolutional tokenizer; the coarsest levels of both halves attend."""
    return convolutional.converted(released, "va_vae", image_size)
