"""A generator: a velocity network that mixes tokens and channels. `--set generator.name=mixer`"""

from models import costs
from models.config import Transformer
from models.forms import Latents

flow = True  # it shares paths, guidance and samplers; else it has `loss` and `draw` of its own (models.generators)


def cost(size: Transformer, latents: Latents, classes: int) -> costs.Cost:
    d, length, z = size.width, latents.tokens, latents.channels
    block = costs.linear(d, length, length) + costs.linear(length, d, d)
    ends = costs.linear(length, z, d) + costs.linear(length, d, z)
    return ends + block.times(size.depth) + costs.learned(classes + 1, d) + costs.linear(1, 1, d)


def network(size: Transformer, latents: Latents, classes: int):
    import torch
    from torch import nn

    class Mixer(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(latents.channels, size.width), nn.Linear(size.width, latents.channels)
            self.tokens = nn.ModuleList(nn.Linear(latents.tokens, latents.tokens) for _ in range(size.depth))
            self.channels = nn.ModuleList(nn.Linear(size.width, size.width) for _ in range(size.depth))
            self.classes, self.time = nn.Embedding(classes + 1, size.width), nn.Linear(1, size.width)

        def forward(self, x_t, t, y):  # latents (B, L, Z), times (B,), classes (B,), where `classes` means none
            h = self.first(x_t) + (self.classes(y) + self.time(t[:, None]))[:, None]
            for tokens, channels in zip(self.tokens, self.channels, strict=True):
                h = h + tokens(h.mT).mT
                h = h + channels(torch.nn.functional.silu(h))
            return self.last(h).float()

    return Mixer()
