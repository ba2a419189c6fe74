"""Swish-SiT: a SiT whose MLPs have the activation SiLU."""

from torch import nn

from models.config import Transformer
from models.forms import Latents
from models.layers.adaptive_transformer import AdaptiveBlock, AdaptiveTransformer


class Network(AdaptiveTransformer):
    """Velocity of latents (B, L, Z). It has as many weights and FLOPs as a SiT of the same size."""

    def __init__(self, size: Transformer, latents: Latents, classes: int):
        super().__init__(size, latents, classes, lambda: AdaptiveBlock(size, norm, mlp), norm)


def norm(width: int) -> nn.LayerNorm:
    return nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)


def mlp(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, width))
