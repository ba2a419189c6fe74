"""The auxiliary decoders of MAETok: they predict features of hidden patches from the latents (Chen et al. 2025)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from models import config
from models.autoencoders.tokenizer import learned, patches
from models.config.terms import HOG_BINS, HOG_CELLS, HOG_NUMBERS
from models.layers.mixed_rotary import MixedRotary
from models.layers.modulated import ModulatedBlocks
from models.objectives.alignment import Features


class FeatureDecoder(nn.Module):
    """Latents (B, L, Z) -> features (B, N, F) of all patches: class token, mask token, modulated blocks, one layer."""

    def __init__(self, size: config.Transformer, side: int, tokens: int, channels: int, features: int):
        super().__init__()
        self.side = side
        self.from_latents = nn.Linear(channels, size.width)
        self.class_token, self.mask_token = learned(1, 1, size.width), learned(1, 1, size.width)
        self.blocks, self.rotary = ModulatedBlocks(size, channels), MixedRotary(size, side, 1, tokens)
        self.to_features = nn.Linear(size.width, features)

    def forward(self, z: Tensor) -> Tensor:
        n = self.side**2
        first, others = self.class_token.expand(len(z), -1, -1), self.mask_token.expand(len(z), n, -1)
        x = torch.cat([first, others, self.from_latents(z).to(first.dtype)], dim=1)
        features: Tensor = self.to_features(self.blocks(x, z, self.rotary(), slice(1, 1 + n)))
        return features.float()


class AuxiliaryLoss(nn.Module):
    """Both decoders, and their losses over hidden patches."""

    def __init__(self, auxiliary: config.Auxiliary, side: int, tokens: int, channels: int, patch_width: int):
        super().__init__()
        self.config, self.side = auxiliary, side
        self.hog = FeatureDecoder(auxiliary.size, side, tokens, channels, HOG_NUMBERS)
        self.teacher = FeatureDecoder(auxiliary.size, side, tokens, channels, patch_width)

    def forward(self, z: Tensor, x: Tensor, hidden: Tensor, teacher: Features) -> Tensor:
        """For latents z (B, L, Z) of images x, of which the patches `hidden` (B, N) were hidden from the encoder.

        Squared error of the gradients' histograms, a mean over their numbers, and minus the cosine with the teacher's
        tokens; means over the hidden patches of the batch, each with its weight.
        """
        squared = (self.hog(z) - histograms(x, self.side)).square().mean(-1)
        cosine = functional.cosine_similarity(self.teacher(z), teacher.p, dim=-1)
        each = self.config.hog_weight * squared - self.config.teacher_weight * cosine
        return (each * hidden).sum() / hidden.sum().clamp(min=1)


def histograms(x: Tensor, side: int) -> Tensor:
    """Histograms of oriented gradients of images x (B, 3, H, H) in [-1, 1]: (B, side², 108).

    The numbers of a patch are in the order (channel, orientation, row, column) of its 2 x 2 cells. Gradients are
    Sobel's, with reflected edges; the orientation is one of 9 bins of half a turn; a Gaussian window, tiled over the
    patches, weighs the magnitudes; the histogram of a cell has length 1.
    """
    patch = x.shape[-1] // side
    cell = patch // HOG_CELLS
    padded = functional.pad(x.float(), (1, 1, 1, 1), mode="reflect").flatten(0, 1)
    along, down = _sobel(padded), _sobel(padded.mT).mT
    bins = (HOG_BINS * torch.atan2(along, down) / math.pi).floor().long() % HOG_BINS
    magnitudes = torch.hypot(along, down) * _window(patch, x).repeat(side, side)
    spread = magnitudes.new_zeros(len(bins), HOG_BINS, *bins.shape[1:]).scatter_(1, bins[:, None], magnitudes[:, None])
    cells = functional.avg_pool2d(spread, cell) * cell**2  # (B 3, 9, 2 side, 2 side)
    return patches(
        functional.normalize(cells, dim=1).view(len(x), 3 * HOG_BINS, HOG_CELLS * side, HOG_CELLS * side), side
    )


def _sobel(x: Tensor) -> Tensor:
    """Differences along rows (n, H, W) of padded images (n, H + 2, W + 2), by sums: exact, and without waiting."""
    across = x[..., :-2] - x[..., 2:]
    return across[:, :-2] + 2 * across[:, 1:-1] + across[:, 2:]


def _window(side: int, like: Tensor) -> Tensor:
    """A Gaussian (side, side) around the centre, of half its side as deviation and sum 1."""
    line = torch.exp(-((torch.arange(side, device=like.device) - (side - 1) / 2) ** 2) / (2 * (side / 2) ** 2))
    window = line[:, None] * line
    return (window / window.sum()).to(like.dtype)
