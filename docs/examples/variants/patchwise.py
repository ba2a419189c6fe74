"""A variant that makes the tokenizer `patchwise` trainable."""

from models.variants import VARIANTS, Variant

# The latents lie on a grid: the rung `grid` of the scale's ladder `form` has the fields for that.
VARIANTS["patchwise"] = Variant(
    "linear latents of single patches", "kl_vae", {"name": "patchwise", "dinov2_encoder": False}, {"form": "grid"}
)
