"""Generators of latents, one file each, found by name. A generator module offers

    Network(size, latents, classes)
        forward(x_t, t, y) -> v        latents (B, L, Z), times t (B,) and classes y (B,) -> velocity (B, L, Z);
                                       y = classes means no class
        read(x_t, t, y, depth) -> v, h the same, and the hidden tokens (B, L, D) after block `depth`, counted from 1

All generators share path, target, guidance and samplers: `models.flows`. This file holds the facts about generators
that are needed before torch is imported.
"""

from models.config import Transformer

QK_NORM = frozenset({"lightningdit"})  # generators whose Network accepts qk_norm=True
ROTARY = frozenset({"lightningdit"})  # generators that rotate queries and keys, which needs an even head width


def parameters(size: Transformer, channels: int, classes: int) -> int:
    """Number of weights and biases of a SiT; other generators have the same number within 1 %."""
    d = size.width
    blocks = size.depth * (18 * d**2 + 15 * d)  # attention 4 D², MLP 8 D², modulation 6 D²
    embeddings = (channels + 1) * d + (256 + 1 + d + 1) * d + (classes + 1) * d
    return blocks + embeddings + 2 * d * (d + 1) + (d + 1) * channels
