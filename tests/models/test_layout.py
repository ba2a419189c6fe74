"""Convolutions compute in the layout in which their device is fast; nothing outside sees it."""

from __future__ import annotations

import pytest
import torch

from models.layers.layout import NARROW, Convolution


@pytest.mark.parametrize("channels", [3, NARROW, NARROW + 1])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_convolution_equals_that_of_torch(channels, stride):
    torch.manual_seed(0)
    ours = Convolution(8, channels, 3, stride, padding=1)
    plain = torch.nn.Conv2d(8, channels, 3, stride, padding=1)
    plain.load_state_dict(ours.state_dict())
    x, results = torch.randn(4, 8, 16, 16), []
    for layer in (ours, plain):
        image = x.clone().requires_grad_()
        y = layer(image)
        gradients = torch.autograd.grad(y.square().sum(), (image, *layer.parameters()))
        assert y.is_contiguous() and gradients[0].is_contiguous()
        results.append((y, *gradients))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)
