"""A tokenizer: the latents of every patch are a linear map of its pixels, and so are the pixels of the latents."""

from models import costs, forms
from models.config import Tokenizer
from models.variants import Variant

PARTS = frozenset({"gaussian"})  # the chosen parts of the configuration that it can have

# A variant makes it a row. The rung `grid` of the scale's ladder `form` has the fields of latents on a grid.
FIELDS = {"name": "patchwise", "dinov2_encoder": False}
variants = {"patchwise": Variant("linear latents of single patches", "kl_vae", FIELDS, {"form": "grid"})}


def latents(tokenizer: Tokenizer, image_size: int) -> forms.Latents:
    """One token for every patch; together they have as many numbers as the L x Z of the scale."""
    return forms.on_grid(tokenizer, image_size // tokenizer.patch_size)


def cost(tokenizer: Tokenizer, image_size: int) -> costs.Halves:
    form, pixels = latents(tokenizer, image_size), 3 * tokenizer.patch_size**2
    decoder = costs.linear(form.tokens, form.channels, pixels)
    return costs.Halves(costs.bottleneck(tokenizer, form, pixels), decoder)


def network(tokenizer: Tokenizer, image_size: int):
    # torch is imported here, because plans are made without it.
    from torch import nn

    from models.autoencoders import tokenizer as base

    class Patchwise(base.Tokenizer):
        def __init__(self, channels: int, pixels: int):
            super().__init__()
            self.side = image_size // tokenizer.patch_size
            self.to_mean, self.to_pixels = nn.Linear(pixels, channels), nn.Linear(channels, pixels)
            self.add_bottleneck(tokenizer, channels, lambda: nn.Linear(pixels, channels))

        def encode(self, x, mask=None):
            return self.posterior(base.patches(x, self.side))

        def decode(self, z, mask=None):
            return base.unpatches(self.to_pixels(z).float(), self.side)

        def decoder_parameters(self):
            return list(self.to_pixels.parameters())

        last_layer = property(lambda self: self.to_pixels.weight)
        last_of_encoder = property(lambda self: self.to_mean.weight)

    return Patchwise(latents(tokenizer, image_size).channels, 3 * tokenizer.patch_size**2)
