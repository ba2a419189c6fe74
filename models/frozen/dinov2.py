"""DINOv2 (Oquab et al. 2024), from timm or the original files: a frozen teacher, and the start of an encoder."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.autoencoders.vit_1d import ViT1D
from models.frozen.efficientnet import resized
from models.layers.transformer import Blocks
from models.objectives.alignment import Features
from models.objectives.masking import cosine_score

PATCH = 14  # px
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, for values in [0, 1]
POSITION_OFFSET = 0.1  # patches
NAMES = {  # layers of a block: timm's name to our name
    "norm1": "norm1",
    "attn.qkv": "qkv",
    "attn.proj": "proj",
    "norm2": "norm2",
    "mlp.fc1": "mlp.0",
    "mlp.fc2": "mlp.2",
}


def normalised(x: Tensor) -> Tensor:
    """Images (B, 3, H, W) in [0, 1], normalised as in the network's training."""
    mean, std = _statistics(x.device)
    return (x - mean) / std


@cache
def _statistics(device: torch.device) -> Tensor:
    """Mean and standard deviation (2, 3, 1, 1); sent to a device once, as a step that sends them would wait."""
    return torch.tensor((MEAN, STD), device=device)[..., None, None]


def positions(stored: Tensor, grid: int) -> Tensor:
    """Position embeddings (1, 1 + g², D) for `grid` x `grid` patches, resampled as in DINOv2's own code.

    That code uses the bicubic filter without antialiasing, on a grid `POSITION_OFFSET` patches too wide. The network
    was trained this way on small crops, and published FD-DINOv2 depend on it. timm antialiases: other features.
    """
    stored_grid = math.isqrt(stored.shape[1] - 1)
    if stored_grid == grid:
        return stored
    patches = stored[:, 1:].unflatten(1, (stored_grid, stored_grid)).permute(0, 3, 1, 2)
    patches = functional.interpolate(patches, scale_factor=(grid + POSITION_OFFSET) / stored_grid, mode="bicubic")
    return torch.cat([stored[:, :1], patches.flatten(2).transpose(1, 2)], 1)


class Teacher(nn.Module):
    """A frozen timm ViT without a head. p_i are its patch tokens and c its class token, after the last norm."""

    def __init__(self, net: Any):
        super().__init__()
        self.net = net.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> Teacher:
        """Always stays in evaluation mode, also as part of another module."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Features:
        """Features, float32, of square images x (B, 3, H, H) in [-1, 1], resized to the side of the network."""
        side, _ = self.net.patch_embed.img_size
        tokens = self.net.forward_features(normalised((resized(x, side) + 1) / 2))
        c, p = tokens[:, 0], tokens[:, 1:]
        return Features(c, p, cosine_score(c, p))


def resampled_kernel(kernel: Tensor, side: int) -> Tensor:
    """The kernel (D, 3, p, p) of a patch embedding for patches of `side` x `side` pixels (FlexiViT, Beyer et al. 2023).

    With B the matrix of bicubic resizing from p to `side`, the result w' has the least error in w'ᵀ B x = wᵀ x over
    patches x of white noise. The error is zero if `side` is at least p.
    """
    p = kernel.shape[-1]
    if side == p:
        return kernel
    pixels = torch.eye(p * p, dtype=torch.float64, device=kernel.device).view(-1, 1, p, p)
    resizing = functional.interpolate(pixels, size=(side, side), mode="bicubic", antialias=True).flatten(1)  # Bᵀ
    return (kernel.flatten(2).double() @ torch.linalg.pinv(resizing).mT).unflatten(-1, (side, side)).to(kernel.dtype)


@torch.no_grad()
def initialise_encoder(tokenizer: ViT1D, state: dict[str, Tensor]) -> None:
    """Sets the encoder of `tokenizer` to a DINOv2 of its size; `state` has its tensors under timm's names.

    DINOv2's normalisation of images is folded into the patch embedding (our images are in [-1, 1]), its LayerScale
    into the projections; both are exact. Patch embedding and positions are resampled to our patches and grid. The class
    token is dropped unless the encoder has one. Latent tokens, mask token and the modules after the encoder are
    unchanged. One difference remains: the epsilon of the norms is 1e-5 here and 1e-6 in DINOv2.
    """
    kernel = resampled_kernel(state["patch_embed.proj.weight"], tokenizer.patch)
    mean, std = (torch.tensor(values, device=kernel.device)[:, None, None] for values in (MEAN, STD))
    tokenizer.embed.weight.copy_((kernel / (2 * std)).flatten(1))
    tokenizer.embed.bias.copy_(state["patch_embed.proj.bias"] + (kernel * (0.5 - mean) / std).sum((1, 2, 3)))
    resampled = positions(state["pos_embed"], tokenizer.side)
    tokenizer.image_positions.copy_(resampled[:, 1:])
    if tokenizer.encoder_class is not None:
        tokenizer.encoder_class.copy_(state["cls_token"] + resampled[:, :1])
    assert isinstance(tokenizer.encoder, Blocks)
    *blocks, norm = tokenizer.encoder
    for number, block in enumerate(blocks):
        block.load_state_dict(_block(state, f"blocks.{number}."))
    norm.load_state_dict({name: state[f"norm.{name}"] for name in ("weight", "bias")})


def _block(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors of one block under our names."""
    kinds = ("weight", "bias")
    tensors = {
        f"{name}.{kind}": state[f"{prefix}{timm_name}.{kind}"] for timm_name, name in NAMES.items() for kind in kinds
    }
    for name, scale in (("proj", "ls1"), ("mlp.2", "ls2")):
        gamma = state[f"{prefix}{scale}.gamma"]
        tensors[f"{name}.weight"] = gamma[:, None] * tensors[f"{name}.weight"]
        tensors[f"{name}.bias"] = gamma * tensors[f"{name}.bias"]
    return tensors
