"""Variants: names for settings of a tokenizer. A variant sets fields of `models.config.Tokenizer` on top of another."""

from models.variants import Variant

variants = {
    "hard_masks": Variant("random masks of at least half of the image", "image_masking", {"masking.min_ratio": 0.5}),
    "pooled": Variant("the tokenizer of pooled.py", "kl_vae", {"name": "pooled", "dinov2_encoder": False}),
}
