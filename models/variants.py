"""The registry of tokenizer variants: a variant changes a few fields of another one. Importable without torch.

A variant never sets a number of one scale: it flips switches and sets ratios that the paper fixes for every scale.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Variant:
    """A named difference: the fields of `models.config.Tokenizer` (dotted) that it sets on top of `base`.

    `rungs` are the rungs of the scale's ladders that it chooses, by ladder. `recipe` tells in which settings the
    published training of a peer differs from a row at the paper's scale, whose training is that of all rows.
    """

    about: str
    base: str | None = None
    fields: dict[str, object] = field(default_factory=dict)
    rungs: dict[str, str] = field(default_factory=dict)
    recipe: str = ""


# MAETok draws the share of hidden patches per batch, from a normal law cut to [0.4, 0.6].
MAE_MASKING = {
    "masking.on": True,
    "masking.min_ratio": 0.4,
    "masking.max_ratio": 0.6,
    "masking.deviation": 0.25,
    "masking.per": "batch",
    "masking.round_up": True,
}
CONVNEXT_AND_PATCHGAN = "images in [0, 1], logits of a ConvNeXt beside LPIPS, PatchGAN of weight 0.1"
ONE_STAGE = f"650,000 steps, beta2 0.999, {CONVNEXT_AND_PATCHGAN} from step 200,000 on"
SUMMED = (
    "errors summed over pixels, where a KL weight of 1e-6 is 5e-12 here (256 px); Adam with betas 0.5 and 0.9; "
    "PatchGAN of weight 0.5 from step 5,001 on"
)
OWN_START = {"dinov2_encoder": False}  # from random weights at every scale
FREE_NATS = 0.25  # of a dimension: our choice, as for the rate that is committed; papers sweep theirs

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
    # remedies for collapse
    "kl_annealing": Variant("KL weight that rises from 0", "kl_vae", {"annealing.on": True}),
    "cyclical_annealing": Variant("KL weight that rises four times", "kl_annealing", {"annealing.cyclical": True}),
    "free_bits": Variant("KL that costs nothing below a floor", "kl_vae", {"gaussian.free_nats": FREE_NATS}),
    "committed_rate": Variant("KL that cannot be smaller", "kl_vae", {"gaussian.committed_nats": FREE_NATS}),
    "latent_dropout": Variant("numbers of the latents set to 0", "kl_vae", {"latent_dropout.on": True}),
    "lagging_decoder": Variant("encoder that learns first", "kl_vae", {"lagging.on": True}),
    # peers
    "softvq": Variant(
        "SoftVQ-VAE: means of codes, local alignment",
        "autoencoder",
        {"name": "softvq", "soft_codes.on": True, "alignment.local_term": True},
        recipe="64 tokens; Adam without weight decay; random crops; adversarial weight 0.2 without balance, and the "
        "discriminator's terms 1 : 20 : 0.002",
    ),
    "maetok": Variant(
        "MAETok: masked autoencoder, auxiliary decoders",
        "autoencoder",
        {"name": "maetok", "auxiliary.on": True} | MAE_MASKING | OWN_START,
        recipe="500,000 steps of 512 images, learning rate 2e-4; adversarial weight 0.4 from step 30,000 on; a third "
        "decoder, for SigLIP",
    ),
    "titok": Variant(
        "TiTok: latent tokens that are codes",
        "autoencoder",
        {"name": "titok", "codes.on": True} | OWN_START,
        recipe=f"codes of 12 numbers; {ONE_STAGE}; the first models in two stages, on codes of another tokenizer",
    ),
    "titok_kl": Variant(
        "TiTok with a KL term",
        "autoencoder",
        {"name": "titok", "gaussian.on": True} | OWN_START,
        recipe=f"latents of 16 numbers; {ONE_STAGE}",
    ),
    "detok": Variant(
        "l-DeTok: dropped tokens, noise on latents",
        "kl_vae",
        {
            "name": "detok",
            "masking.on": True,
            "masking.dropped": True,
            "masking.per": "batch",
            "latent_noise.on": True,
        }
        | OWN_START,
        {"form": "grid"},
        recipe="200 epochs of batches of 1,024 images, learning rate 4e-4 after a warm-up of 50 epochs, falling to 0; "
        f"clipping at 3, EMA 0.999; {CONVNEXT_AND_PATCHGAN} from epoch 100 on; 100 epochs of decoder fine-tuning; "
        "rotary positions that do not rotate",
    ),
    "va_vae": Variant(
        "VA-VAE: convolutional, vision-foundation loss",
        "kl_vae",
        {"name": "va_vae", "convolution.on": True, "foundation.on": True, "likelihood.on": True} | OWN_START,
        {"form": "grid"},
        recipe=f"twice as many numbers; {SUMMED}; foundation weights and margins of three stages of 100, 15 and 15 "
        "epochs, of which the last are taken here; the teacher sees images of 224 px, not normalised",
    ),
    "mar_vae": Variant(
        "MAR-VAE: convolutional KL-VAE",
        "kl_vae",
        {"name": "mar_vae", "convolution.on": True} | OWN_START,
        {"form": "grid"},
        recipe=SUMMED,
    ),
    "sd_vae": Variant(
        "SD-VAE: convolutional KL-VAE, finer grid",
        "kl_vae",
        {"name": "sd_vae", "convolution.on": True} | OWN_START,
        {"form": "fine grid"},
        recipe=SUMMED,
    ),
    "vq_vae": Variant(
        "VQ-VAE: convolutional, codes",
        "autoencoder",
        {"name": "vq_vae", "convolution.on": True, "codes.on": True, "codes.normalised": False} | OWN_START,
        {"form": "grid"},
    ),
}


def fields_of(name: str) -> dict[str, object]:
    """All fields that variant `name` and its ancestors set on the plain autoencoder."""
    variant = VARIANTS[name]
    return (fields_of(variant.base) if variant.base else {}) | variant.fields


def rungs_of(name: str) -> dict[str, str]:
    """All rungs that variant `name` and its ancestors choose, by ladder."""
    variant = VARIANTS[name]
    return (rungs_of(variant.base) if variant.base else {}) | variant.rungs
