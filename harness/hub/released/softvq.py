"""SoftVQ-VAE (continuous_tokenizer; Chen et al. 2025)."""

from __future__ import annotations

from harness.hub.checkpoint import Checkpoint, Converted
from harness.hub.layouts import timm_vit
from models.config import SoftCodes

IGNORED = timm_vit.IGNORED


def tokenizer(released: Checkpoint, image_size: int | None) -> Converted:
    """A tokenizer with class tokens whose latents are means of codes."""
    shape = released.shape("quantize.embedding", None, None, None)
    soft = SoftCodes(True, shape[0], shape[1])
    made = timm_vit.converted(released, *timm_vit.configured(released, "softvq", soft_codes=soft))
    codes = released.take("quantize.embedding", soft.codebooks, soft.codes, made.tokenizer.channels)
    return made._replace(state=made.state | {"quantiser.codes": codes})
