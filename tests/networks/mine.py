"""Tokenizers as users write them, whole and broken."""

import os
import sys

import numpy as np
import torch


class Pooled:
    """Average pooling to a grid, in NumPy."""

    weights = 7

    def encode(self, images):
        return images.numpy().reshape(len(images), 3, 4, 8, 4, 8).mean((3, 5))

    def decode(self, latents):
        return np.repeat(np.repeat(np.asarray(latents), 8, 2), 8, 3)


class First:
    """The first numbers of an image."""

    def __init__(self, text="2"):
        self.width = int(text) if text.isdigit() else 4

    def encode(self, images):
        return images.flatten(1)[:, : 6 * self.width].view(len(images), 6, self.width)

    def decode(self, z):
        return torch.zeros(len(z), 3, 32, 32) + z.mean((1, 2))[:, None, None, None]


first = First("4")


class Chatty(First):
    def __init__(self):
        super().__init__("4")
        print("hello")
        print("warning", file=sys.stderr)


class Loud(First):
    def decode(self, z):
        assert (z @ z.mT).dtype == torch.float32
        return torch.stack([torch.full((3, 32, 32), -9.0), torch.full((3, 32, 32), 9.0)])


class Raises(First):
    def encode(self, images):
        raise RuntimeError("no\nluck")


class NoDecode:
    def encode(self, images):
        return images


class Wrong(First):
    def encode(self, images):
        return torch.zeros(2, 5)


class NotFinite(First):
    def encode(self, images):
        return torch.full((2, 6, 4), torch.nan)


class SmallImages(First):
    def decode(self, z):
        return torch.zeros(2, 3, 16, 16)


class Text(First):
    def decode(self, z):
        return "images"


class Oblong(First):
    def encode(self, images):
        return torch.zeros(2, 3, 4, 5)


class Exits(First):
    def encode(self, images):
        sys.exit(3)


class Dies(First):
    def encode(self, images):
        os._exit(5)
