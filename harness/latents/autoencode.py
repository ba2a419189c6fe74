"""Images to latents and back, in batches that fit a small machine."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from harness.data.tensors import to_tensor, to_uint8
from harness.system.fitting import Batching
from harness.system.machine import Machine
from models.autoencoders.linear import LinearTokenizer
from models.autoencoders.posterior import Posterior
from models.autoencoders.tokenizer import Tokenizer

BATCH = 128  # on the CPU
ENCODING, DECODING = Batching(BATCH, 1024), Batching(BATCH, 1024)


@torch.no_grad()
def encode(tokenizer: Tokenizer | LinearTokenizer, images: np.ndarray, machine: Machine) -> Posterior:
    """The posterior (n, L, Z) of uint8 images (n, H, W, 3), on the CPU."""
    with machine.autocast():
        parts = ENCODING.map(lambda part: tokenizer.encode(machine.put(to_tensor(part))), images)
    mean = torch.cat([part.mean for part in parts]).cpu()
    log_variances = [part.log_variance for part in parts if part.log_variance is not None]
    codes = [part.codes for part in parts if part.codes is not None]
    log_variance = torch.cat(log_variances).cpu() if log_variances else None
    return Posterior(mean, log_variance, codes=torch.cat(codes).cpu() if codes else None)


def decode(tokenizer: Tokenizer | LinearTokenizer, z: Tensor, machine: Machine) -> Tensor:
    """The images of latents z (n, L, Z): uint8 (n, 3, H, W), rounded, on the CPU."""
    return decode_there(tokenizer, z, machine).cpu()


@torch.no_grad()
def decode_there(tokenizer: Tokenizer | LinearTokenizer, z: Tensor, machine: Machine) -> Tensor:
    """The same on the machine's device, for a network that looks at them."""
    with machine.autocast():
        return torch.cat(DECODING.map(lambda part: to_uint8(tokenizer.decode(machine.put(part))), z))
