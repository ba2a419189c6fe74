"""Tokenizers as users write them, whole and broken."""

import atexit
import os
import random
import sys
import threading
import time

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


class Leaves(First):
    def encode(self, images):
        sys.exit(0)


class Asks(First):
    def encode(self, images):
        input()


class LastWords(First):
    def __init__(self):
        super().__init__("4")
        atexit.register(print, "goodbye")


class Waits(First):
    def __init__(self):
        super().__init__("4")
        threading.Thread(target=time.sleep, args=(300,)).start()


class NoLatents(First):
    def encode(self, images):
        return torch.zeros(len(images), 0, 4)


class OneOfTwo(First):
    def encode(self, images):
        return torch.zeros(1, 6, 4)


class Complex(First):
    def encode(self, images):
        return torch.zeros(len(images), 6, 4, dtype=torch.complex64)


class Bytes(First):
    def decode(self, z):
        return torch.zeros(len(z), 3, 32, 32, dtype=torch.uint8)


class Pixels(First):
    def decode(self, z):
        return (super().decode(z) + 1) * 127.5


class ManyTimes(First):
    def decode(self, z):
        return 255 * torch.linspace(-1, 1, 32).expand(len(z), 3, 32, 32)


class Overshoots(First):
    """A decoder of [-1, 1] that is slightly off, with one wild value in a hundred."""

    def decode(self, z):
        x = 1.5 * torch.linspace(-1, 1, 32).expand(len(z), 3, 32, 32).flatten(1)
        x[:, ::100] *= 1e6
        return x.view(len(z), 3, 32, 32)


class NoNumbers(First):
    def decode(self, z):
        return super().decode(z) * torch.nan


class Negative(First):
    weights = -5


class Endless(First):
    weights = 10**18


class OnePath(First):
    files = "weights.bin"


class Needs(First):
    def __init__(self, one, two):
        super().__init__()


class InPlace(First):
    """It works in place, and fills one buffer again and again."""

    def __init__(self):
        super().__init__("4")
        self.buffer = torch.zeros(6, 6, 4)

    def encode(self, images):
        return self.buffer.copy_(super().encode(images.add_(1).div_(2)))

    def decode(self, z):
        return super().decode(z.mul_(0))


class Meddles(First):
    """It changes what all code of a process shares."""

    def __init__(self):
        super().__init__("4")
        self.meddle()

    def meddle(self):
        random.seed(7)
        np.random.seed(7)
        torch.manual_seed(7)
        torch.set_default_dtype(torch.float64)
        torch.set_default_device("meta")
        torch.set_grad_enabled(True)
        torch.set_num_threads(3)
        torch.use_deterministic_algorithms(True)
        os.chdir("/")

    def encode(self, images):
        self.meddle()
        return super().encode(images).double()

    def decode(self, z):
        self.meddle()
        return np.zeros((len(z), 3, 32, 32))


class Draws(First):
    def encode(self, images):
        drawn = torch.randn(len(images), 6, 4).numpy() + np.random.normal(size=(len(images), 6, 4))
        return drawn + random.random()


class Changes(First):
    """Its first latents have another form than the others."""

    length = 6

    def encode(self, images):
        z = torch.zeros(len(images), self.length, 4)
        self.length = 5
        return z
