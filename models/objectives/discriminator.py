"""The discriminator on frozen features at several depths, and the losses of both sides (MacTok Eq. 7 and App. B).

The design is that of Projected GANs (Sauer et al. 2021): a pretrained network provides features at several depths,
and only a small head per depth is trained.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from models.frozen.dinov2 import normalised
from models.frozen.efficientnet import EfficientNet


class Readouts(Protocol):
    """Frozen features at several depths, of `widths` C_i: images (B, 3, H, H) in [-1, 1] -> maps (B, C_i, T_i).

    One that has a `head` has features of another form, and this class is for them what `Head` is for these.
    """

    widths: tuple[int, ...]

    def __call__(self, x: Tensor) -> list[Tensor]: ...


class DinoReadouts:
    """A timm ViT-S/16 at 224 px: the patch embedding with its positions, and the tokens after four blocks.

    Freezes `net`; class tokens are dropped.
    """

    SIDE, BLOCKS = 224, (2, 5, 8, 11)

    def __init__(self, net: Any):
        self.net = net.eval().requires_grad_(False)
        self.widths = (net.embed_dim,) * (1 + len(self.BLOCKS))

    def __call__(self, x: Tensor) -> list[Tensor]:
        net = self.net
        x = normalised((resized(x, self.SIDE) + 1) / 2)  # DINO and DINOv2 share mean and standard deviation
        h = net.norm_pre(net._pos_embed(net.patch_embed(x)))
        readouts = [h]
        for i, block in enumerate(net.blocks[: self.BLOCKS[-1] + 1]):
            h = block(h)
            if i in self.BLOCKS:
                readouts.append(h)
        return [h[:, net.num_prefix_tokens :].mT for h in readouts]


class LiteReadouts:
    """EfficientNet-Lite at 64 px or more: stages 1, 2 and 4, of strides 4, 8 and 16.

    Smaller images are enlarged: the map of stage 4 has 16 positions at 64 px; at 32 px it would have 4, each of which
    covers the whole image. Stage 0 adds little to the pixels and has four times the positions of stage 1. Stage 3 has
    the stride of stage 4, and later stages would have 4 positions. All positions have equal weight, so finer levels
    count more.
    """

    SIDE, STAGES = 64, (1, 2, 4)

    def __init__(self, net: EfficientNet):
        self.net = net
        widths = {info["module"]: info["num_chs"] for info in net.net.feature_info}
        self.widths = tuple(widths[f"blocks.{i}"] for i in self.STAGES)

    def __call__(self, x: Tensor) -> list[Tensor]:
        stages = self.net.stages(resized(x, max(self.SIDE, x.shape[-1])), self.STAGES[-1])
        return [stages[i].flatten(2) for i in self.STAGES]


def resized(x: Tensor, side: int) -> Tensor:
    """Square images resized to `side`: bicubic, antialiased, float32; they may leave the range.

    Computed as two products with the interpolation matrix, because the gradient of torch's interpolation is not
    deterministic on CUDA. Not clipped, because clipping would stop gradients.
    """
    if x.shape[-1] == side:
        return x
    with torch.autocast(x.device.type, enabled=False):
        identity = torch.eye(x.shape[-1], device=x.device)[None, None]
        matrix = functional.interpolate(identity, size=(side, x.shape[-1]), mode="bicubic", antialias=True)
        return matrix @ x.float() @ matrix.mT


class Discriminator(nn.Module):
    """A head for each level of `features`: images (B, 3, H, H) in [-1, 1] -> logits (B, sum of T_i), float32.

    High logits mean "real". Each image is judged separately, so splitting a batch changes nothing. The caller owns the
    features: they are not in the parameters or the state, and `.to` does not move them.

    The vectors of the spectral norms (Miyato et al. 2018) change only in `power_iteration`, which is called once per
    step. Forward passes change nothing, so their number does not matter. The module is always in evaluation mode.
    """

    def __init__(self, features: Readouts):
        super().__init__()
        self.features = features
        head = getattr(features, "head", Head)
        self.heads = nn.ModuleList(head(width) for width in features.widths)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.judge(self.features(x))

    def judge(self, read: list[Tensor]) -> Tensor:
        """The logits of images from their features."""
        return torch.cat([head(tokens).float() for head, tokens in zip(self.heads, read, strict=True)], dim=1)

    def train(self, mode: bool = True) -> Discriminator:
        """Stays in evaluation mode, in which spectral norms do not change."""
        return super().train(False)

    def power_iteration(self) -> None:
        """One power iteration of every spectral norm, towards the largest singular value of the current weights."""
        for module in self.modules():
            if isinstance(module, Convolution):
                module.power_iteration()


class Head(nn.Module):
    """Tokens (B, C, T), T >= 4, -> logits (B, T): 1D convolutions with kernels 1 and 9 (residual), then a logit.

    Norms are group norms (Wu & He 2018).
    """

    def __init__(self, width: int):
        super().__init__()
        self.embed = _layer(width, 1)
        self.mix = _layer(width, 9)
        self.to_logit = spectral_norm(Convolution(width, 1, 1))

    def forward(self, tokens: Tensor) -> Tensor:
        h = self.embed(tokens)
        h = (h + self.mix(h)) / math.sqrt(2)  # keeps the variance of one summand
        return self.to_logit(h)[:, 0]


def _layer(width: int, kernel: int) -> nn.Sequential:
    convolution = Convolution(width, width, kernel, padding=kernel // 2, padding_mode="circular")
    groups = math.gcd(32, width)
    return nn.Sequential(spectral_norm(convolution), nn.GroupNorm(groups, width), nn.LeakyReLU(0.2))


class Convolution(nn.Conv1d):
    """A 1D convolution to be spectrally normalised."""

    def forward(self, h: Tensor) -> Tensor:
        with torch.autocast(h.device.type, enabled=False):  # the norm needs float32, the convolution does not
            weight = self.weight
            if h.device.type == "cpu":  # gradients in bfloat16 are up to a hundred times slower there
                return self._conv_forward(h.float(), weight, self.bias)
        return self._conv_forward(h, weight, self.bias)

    @torch.no_grad()
    def power_iteration(self) -> None:
        norm: Any = self.parametrizations
        norm.weight.train()()  # in training mode, computing the weight runs one iteration
        norm.weight.eval()


# Losses on the logits (B, T) of images and of their reconstructions


def hinge(real: Tensor, fake: Tensor) -> Tensor:
    """The loss of the discriminator (Lim & Ye 2017): E[relu(1 - D(x))] + E[relu(1 + D(x̂))]."""
    return functional.relu(1 - real).mean() + functional.relu(1 + fake).mean()


def generator_hinge(fake: Tensor) -> Tensor:
    """The loss of the generator, here the tokenizer (Lim & Ye 2017): -E[D(x̂)]."""
    return -fake.mean()


def consistency(real: Tensor, fake: Tensor, real_again: Tensor, fake_again: Tensor) -> Tensor:
    """Balanced consistency (Zhao et al. 2021): squared change of logits under another augmentation, real plus fake."""
    return functional.mse_loss(real_again, real) + functional.mse_loss(fake_again, fake)


def lecam(real: Tensor, fake: Tensor, average_real: Tensor | float, average_fake: Tensor | float) -> Tensor:
    """LeCAM (Tseng et al. 2021): E[relu(D(x) - average_fake)²] + E[relu(average_real - D(x̂))²].

    The averages are moving averages of the mean logits of images and of reconstructions.
    """
    return functional.relu(real - average_fake).square().mean() + functional.relu(average_real - fake).square().mean()


def adaptive_weight(reconstruction_gradient: Tensor, adversarial_gradient: Tensor) -> Tensor:
    """The weight of the adversarial term (Esser et al. 2021, Eq. 7), in [0, 1e4].

    It is the gradient norm of the reconstruction's terms divided by that of the adversarial term, both with respect to
    the last layer of the decoder. No gradient flows through it.
    """
    weight = reconstruction_gradient.norm() / (adversarial_gradient.norm() + 1e-4)
    return weight.clamp(0, 1e4).detach()
