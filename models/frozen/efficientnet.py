"""EfficientNet-Lite as a frozen network: teacher, perceptual distance and measure, each with a separate network."""

from __future__ import annotations

import contextlib
from itertools import pairwise
from typing import Any

import torch
from timm.layers import BatchNormAct2d, Conv2dSame
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models.objectives.alignment import Features

PATCH_STAGE, DEEP_STAGE = 4, 6  # the last stages at stride 16 (112 channels in Lite0) and at stride 32 (320)


class EfficientNet(nn.Module):
    """A frozen timm `tf_efficientnet_lite*`; the seven stages of its trunk are numbered 0 to 6.

    Two rewritings of `net`, equal up to rounding, make it half as fast again: batch norms become part of the
    convolutions before them, and padding part of the kernels.
    """

    def __init__(self, net: Any):
        super().__init__()
        self.net = net.eval().requires_grad_(False)
        for parent in list(net.modules()):
            for (name, layer), (after, norm) in pairwise(list(parent.named_children())):
                if isinstance(layer, nn.Conv2d) and isinstance(norm, BatchNormAct2d):
                    setattr(parent, name, fuse_conv_bn_eval(layer, norm))
                    setattr(parent, after, norm.act)
            for name, layer in list(parent.named_children()):
                if isinstance(layer, Conv2dSame):
                    setattr(parent, name, HalvingConvolution(layer))

    def train(self, mode: bool = True) -> EfficientNet:
        """Always stays in evaluation mode, also as part of another module: batch norm and dropout are frozen too."""
        return super().train(False)

    def stages(self, x: Tensor, last: int = DEEP_STAGE) -> list[Tensor]:
        """The outputs (B, C_i, H_i, W_i) of stages 0 .. `last` for images x in [-1, 1]."""
        h = self.net.bn1(self.net.conv_stem(network_input(x)))
        outputs = []
        for stage in self.net.blocks[: last + 1]:
            h = stage(h)
            outputs.append(h)
        return outputs

    def pooled(self, deep: Tensor) -> Tensor:
        """The 1280 pooled features (B, 1280) from the output of stage 6."""
        return self.net.global_pool(self.net.bn2(self.net.conv_head(deep)))

    def logits(self, deep: Tensor) -> Tensor:
        """The logits (B, 1000) of ImageNet's classes from the output of stage 6."""
        return self.net.classifier(self.pooled(deep))


class HalvingConvolution(nn.Module):
    """A convolution of stride 2 and odd kernel k with TensorFlow's padding.

    That padding has one zero less on the left than on the right where the side is even. A kernel with a further row
    and column of zeros in front does the same on evenly padded images, which need not be copied.
    """

    def __init__(self, layer: Conv2dSame):
        super().__init__()
        assert layer.stride == (2, 2), "timm pads other strides evenly"
        self.layer, self.padding = layer, layer.kernel_size[0] // 2
        self.kernel: Tensor
        self.register_buffer("kernel", functional.pad(layer.weight.detach(), (1, 0, 1, 0)), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.layer.weight if x.shape[-1] % 2 else self.kernel
        return functional.conv2d(x, kernel, self.layer.bias, 2, self.padding, groups=self.layer.groups)


def network_input(x: Tensor) -> Tensor:
    """Images in [-1, 1] -> the range of EfficientNet-Lite's training: (value - 127) / 128 for values 0 .. 255."""
    return ((x + 1) * 127.5 - 127) / 128


def resized(x: Tensor, side: int) -> Tensor:
    """Square images (B, 3, H, H) resized to `side`: bicubic, antialiased, clipped to [-1, 1]."""
    if x.shape[-1] == side:
        return x
    return functional.interpolate(x, size=(side, side), mode="bicubic", antialias=True).clamp(-1, 1)


def teacher_features(net: EfficientNet, x: Tensor, patches: int) -> Features:
    """Features of images x for a grid of `patches` x `patches` image tokens.

    p_i is the stride-16 map of the image at 16 px per patch, c the 1280 pooled features. Unlike a ViT's class token,
    c of a classifier does not point at the object, so the semantic score is `norm_score` and not cos(c, p_i).
    """
    stages = net.stages(resized(x, 16 * patches))
    p, deep = stages[PATCH_STAGE], stages[DEEP_STAGE]
    tokens = p.flatten(2).transpose(1, 2)
    return Features(net.pooled(deep).float(), tokens.float(), norm_score(p.float(), deep.float()))


def norm_score(p: Tensor, deep: Tensor) -> Tensor:
    """s (B, N): the norms of the stride-16 map and of the upsampled stride-32 map, standardised per image and added."""
    deep_norm = deep.norm(dim=1, keepdim=True)
    deep_norm = functional.interpolate(deep_norm, size=p.shape[-2:], mode="bilinear", align_corners=False)
    return _standardised(p.norm(dim=1).flatten(1)) + _standardised(deep_norm.flatten(1))


def _standardised(s: Tensor) -> Tensor:
    return (s - s.mean(1, keepdim=True)) / s.std(1, keepdim=True).clamp(min=1e-6)


class PerceptualDistance(nn.Module):
    """Mean squared difference of channel-normalised features of the first stages (after LPIPS, Zhang et al. 2018).

    This is not LPIPS: the channels are not weighted by human judgements.
    """

    LAST = 1  # strides 2 and 4: a third stage would double the cost

    def __init__(self, net: EfficientNet, batch_share: float = 1.0):
        super().__init__()
        self.net, self.batch_share = net, batch_share

    def forward(self, x: Tensor, reconstruction: Tensor) -> Tensor:
        """The distance, summed over channels and stages, mean over positions and over `batch_share` of the batch."""
        part = max(1, round(self.batch_share * len(x)))
        # On the CPU, depth-wise convolutions and their gradients are slower in bfloat16.
        with torch.autocast("cpu", enabled=False) if x.device.type == "cpu" else contextlib.nullcontext():
            with torch.no_grad():
                target = self.net.stages(x[:part], self.LAST)
            pairs = zip(self.net.stages(reconstruction[:part], self.LAST), target, strict=True)
            return torch.stack([(_unit(a) - _unit(b)).square().sum(1).mean() for a, b in pairs]).sum()


def _unit(h: Tensor) -> Tensor:
    return functional.normalize(h.float(), dim=1, eps=1e-6)
