"""A tokenizer: one convolution to latents on a grid, and one back. Its parameters and FLOPs are for plans."""

from models import costs, forms
from models.config import Tokenizer

PARTS = frozenset({"gaussian"})  # of models.tokenizers.CHOSEN: the parts of the configuration that it can have


def latents(tokenizer: Tokenizer, image_size: int) -> forms.Latents:
    return forms.Latents(tokenizer.image_tokens(image_size), tokenizer.channels, image_size // tokenizer.patch_size)


def cost(tokenizer: Tokenizer, image_size: int) -> costs.Halves:
    n, pixels, z = tokenizer.image_tokens(image_size), 3 * tokenizer.patch_size**2, tokenizer.channels
    means = costs.linear(n, pixels, z).times(2 if tokenizer.gaussian.on else 1)
    return costs.Halves(means, costs.Cost(z * pixels + 3, 2.0 * n * z * pixels))


def network(tokenizer: Tokenizer, image_size: int):
    from torch import nn

    from models.autoencoders import tokenizer as networks

    patch, z = tokenizer.patch_size, tokenizer.channels

    class Pooled(networks.Tokenizer):
        last_layer = property(lambda self: self.back.weight)
        last_of_encoder = property(lambda self: self.to_mean.weight)

        def __init__(self):
            super().__init__()
            self.side = image_size // patch
            self.to_mean, self.back = nn.Linear(3 * patch**2, z), nn.ConvTranspose2d(z, 3, patch, patch)
            self.add_bottleneck(tokenizer, z, lambda: nn.Linear(3 * patch**2, z))

        def encode(self, x, mask=None):
            return self.posterior(networks.patches(x, self.side))

        def decode(self, z, mask=None):
            return self.back(z.mT.unflatten(2, (self.side, self.side))).float()

        def decoder_parameters(self):
            return list(self.back.parameters())

    return Pooled()
