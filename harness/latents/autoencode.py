"""Images to latents and back, in batches that fit a small machine."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from harness.data.tensors import to_tensor, to_uint8
from harness.system.machine import Machine
from models.autoencoders.linear import LinearTokenizer
from models.autoencoders.posterior import Posterior
from models.autoencoders.tokenizer import Tokenizer

BATCH = 128


@torch.no_grad()
def encode(tokenizer: Tokenizer | LinearTokenizer, images: np.ndarray, machine: Machine) -> Posterior:
    """The posterior (n, L, Z) of uint8 images (n, H, W, 3), on the CPU."""
    parts = []
    with machine.autocast():
        for start in range(0, len(images), BATCH):
            parts.append(tokenizer.encode(machine.put(to_tensor(images[start : start + BATCH]))))
    mean = torch.cat([part.mean for part in parts]).cpu()
    log_variances = [part.log_variance for part in parts if part.log_variance is not None]
    codes = [part.codes for part in parts if part.codes is not None]
    log_variance = torch.cat(log_variances).cpu() if log_variances else None
    return Posterior(mean, log_variance, codes=torch.cat(codes).cpu() if codes else None)


@torch.no_grad()
def decode(tokenizer: Tokenizer | LinearTokenizer, z: Tensor, machine: Machine) -> Tensor:
    """The images of latents z (n, L, Z): uint8 (n, 3, H, W), rounded, on the CPU."""
    with machine.autocast():
        return torch.cat([to_uint8(tokenizer.decode(machine.put(part))).cpu() for part in z.split(BATCH)])
