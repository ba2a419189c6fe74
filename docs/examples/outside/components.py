"""A tokenizer from outside the project: principal components of the images in a file.

`components.py:Components=FILE.npy` reads uint8 images (n, S, S, 3), such as `train_images.npy` in a run of the stage
`data`. The components are an orthonormal basis, so that encoder and decoder are one matrix.
"""

import numpy as np

NUMBERS = 32  # of an image, in one token


class Components:
    """Images (B, 3, S, S) in [-1, 1] <-> latents (B, 1, 32)."""

    def __init__(self, file):
        images = np.load(file).transpose(0, 3, 1, 2)
        flat = images.reshape(len(images), -1) / np.float32(127.5) - 1
        self.shape, self.mean = images.shape[1:], flat.mean(0)
        centred = flat - self.mean
        _, self.basis = np.linalg.eigh(centred.T @ centred)  # the largest come last
        self.basis = self.basis[:, -NUMBERS:]
        self.weights = self.basis.size + self.mean.size

    def encode(self, images):
        flat = images.cpu().numpy().reshape(len(images), -1)
        return ((flat - self.mean) @ self.basis)[:, None].astype(np.float32)

    def decode(self, latents):
        flat = latents[:, 0].cpu().numpy() @ self.basis.T + self.mean
        return flat.reshape(-1, *self.shape).astype(np.float32)
