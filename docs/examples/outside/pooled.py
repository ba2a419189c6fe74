"""A tokenizer from outside the project: its latents are the colours of squares of 8 x 8 pixels.

An object with `encode` and `decode` is all that is needed. It is measured, not trained.
"""

from torch.nn import functional

SQUARE = 8


class Pooled:
    """Images (B, 3, S, S) in [-1, 1] <-> latents (B, 3, S / 8, S / 8) on a grid."""

    def encode(self, images):
        return functional.avg_pool2d(images, SQUARE)

    def decode(self, latents):
        return functional.interpolate(latents, scale_factor=SQUARE, mode="bilinear").clamp(-1, 1)
