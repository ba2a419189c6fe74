"""The registry of tokenizer variants: a variant changes a few fields of another one. Importable without torch.

A variant never sets a number of one scale: it flips switches and sets ratios that the paper fixes for every scale.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Variant:
    """A named difference: the fields of `models.config.Tokenizer` (dotted) that it sets on top of `base`."""

    about: str
    base: str | None = None
    fields: dict[str, object] = field(default_factory=dict)


VARIANTS: dict[str, Variant] = {
    "autoencoder": Variant("deterministic bottleneck, nothing masked, nothing aligned"),
    "kl_vae": Variant("Gaussian bottleneck with a KL term", "autoencoder", {"gaussian.on": True}),
    "latent_masking": Variant("latent tokens masked after sampling", "kl_vae", {"latent_masking.on": True}),
    "image_masking": Variant("random image masking", "kl_vae", {"masking.on": True}),
    "semantic_masking": Variant("semantic image masking only", "image_masking", {"masking.semantic_share": 1.0}),
    "mixed_masking": Variant("random or semantic masking", "image_masking", {"masking.semantic_share": 0.5}),
    "local_alignment": Variant("random masking, local alignment", "image_masking", {"alignment.local_term": True}),
    "mactok_no_global": Variant("mixed masking, local alignment", "local_alignment", {"masking.semantic_share": 0.5}),
    "mactok": Variant("mixed masking, local and global alignment", "mactok_no_global", {"alignment.global_term": True}),
}


def fields_of(name: str) -> dict[str, object]:
    """All fields that variant `name` and its ancestors set on the plain autoencoder."""
    variant = VARIANTS[name]
    return (fields_of(variant.base) if variant.base else {}) | variant.fields
