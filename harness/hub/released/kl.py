"""KL or plain autoencoder of the SoftVQ-VAE repository (continuous_tokenizer)."""

from __future__ import annotations

from harness.hub.checkpoint import Checkpoint, Converted
from harness.hub.layouts import timm_vit
from models.config import Gaussian

IGNORED = timm_vit.IGNORED


def tokenizer(released: Checkpoint, image_size: int | None) -> Converted:
    """A tokenizer with class tokens; it is Gaussian if its layer to latents has outputs for a log-variance."""
    outputs, _ = released.shape("quant_conv.weight", None, None)
    _, channels = released.shape("post_quant_conv.weight", None, None)
    return timm_vit.converted(released, *timm_vit.configured(released, "softvq", gaussian=Gaussian(outputs > channels)))
