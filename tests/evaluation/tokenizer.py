"""A tokenizer at smoke size that tests measure."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models import tokenizers
from models.autoencoders.tokenizer import patches
from models.autoencoders.vit_1d import ViT1D
from tests.conftest import experiment


def made(variant: str) -> ViT1D:
    """A tokenizer at smoke size whose latents vary with the image, and whose decoder listens to them."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tokenizer = tokenizers.network(experiment(variant).tokenizer, 32).eval()
        assert isinstance(tokenizer, ViT1D)
        for layer in (tokenizer.to_mean, tokenizer.from_latents, tokenizer.to_pixels):
            nn.init.normal_(layer.weight)
        return tokenizer


@torch.no_grad()
def teach_decoder(tokenizer: ViT1D, x: Tensor) -> None:
    """Sets the last layer by least squares, so that images x (B, 3, H, W) are decoded from their own latents."""
    seen: list[Tensor] = []
    hook = tokenizer.to_pixels.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    tokenizer.decode(tokenizer.encode(x).mean)
    hook.remove()
    hidden = nn.functional.pad(seen[0].flatten(0, 1), (0, 1), value=1).double()
    targets = patches(x, tokenizer.side).flatten(0, 1).double()
    solved = torch.linalg.lstsq(hidden, targets, driver="gelsd").solution
    tokenizer.to_pixels.weight.copy_(solved[:-1].T)
    tokenizer.to_pixels.bias.copy_(solved[-1])


@torch.no_grad()
def deafen_decoder(tokenizer: ViT1D, hearing: float) -> None:
    """Leaves the decoder this share of what it does with latents; the rest of the last layer is constant.

    The rise of the squared error by the latents of other images has the same share: over all images both sets of
    latents give the same images, so it is linear in what the decoder makes of them.
    """
    tokenizer.to_pixels.weight.mul_(hearing)
