"""Generators on the latents, one file each, found by name. A generator module offers

    Network(size, tokens, channels, classes)
        forward(x_t, t, y) -> v        latents (B, L, Z) at times t (B,) and classes y (B,) -> velocity (B, L, Z);
                                       y = classes stands for no class
        read(x_t, t, y, depth) -> v, h the same, and the hidden tokens (B, L, D) behind block `depth`, counted from 1

Path, target, guidance and samplers are the same for all: `models.flow`, `models.samplers`. What has to be known of a
generator before torch is imported stands here.
"""

from models.config import Transformer

QK_NORM = frozenset({"lightningdit"})  # whose Network takes qk_norm=True, too
ROTARY = frozenset({"lightningdit"})  # which turn queries and keys, so that the width of a head has to be even


def parameters(size: Transformer, channels: int, classes: int) -> int:
    """Weights and biases of a SiT, of whichever size; other generators are built to have as many within 1 %."""
    d = size.width
    blocks = size.depth * (18 * d**2 + 15 * d)  # attention 4 D², MLP 8 D², modulation 6 D²
    embeddings = (channels + 1) * d + (256 + 1 + d + 1) * d + (classes + 1) * d
    return blocks + embeddings + 2 * d * (d + 1) + (d + 1) * channels
