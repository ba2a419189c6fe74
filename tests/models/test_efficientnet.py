from __future__ import annotations

import copy

import numpy as np
import pytest
import timm
import torch
from timm.layers import Conv2dSame

from models.frozen.efficientnet import (
    EfficientNet,
    HalvingConvolution,
    PerceptualDistance,
    network_input,
    norm_score,
    resized,
    teacher_features,
)
from tests.conftest import BATCH, DRAWS, SIDE, TOKENS, WIDTHS, images


def test_perceptual_distance_teaches_the_reconstruction(net):
    x, reconstruction = images(), (images() * 0.5).requires_grad_()
    distance = PerceptualDistance(net)
    assert distance(x, x).item() == pytest.approx(0, abs=1e-6)
    value = distance(x, reconstruction)
    value.backward()
    assert value > 0
    assert reconstruction.grad.isfinite().all()
    assert reconstruction.grad.any()


def test_perceptual_distance_of_a_share_of_the_batch(net):
    x, reconstruction = images(4), images(4).flip(-1)
    distance = PerceptualDistance(net, batch_share=0.5)
    assert distance(x, reconstruction).item() == pytest.approx(
        PerceptualDistance(net)(x[:2], reconstruction[:2]).item()
    )
    assert PerceptualDistance(net, batch_share=0.01)(x, reconstruction).item() > 0  # one image at least


def test_teacher_features_of_a_network(net):
    c, p, s = teacher_features(net.train(), images(2), 8)
    assert (c.shape, p.shape, s.shape) == ((2, WIDTHS[1]), (2, TOKENS, WIDTHS[0]), (2, TOKENS))
    assert all(f.isfinite().all() and not f.requires_grad and f.dtype == torch.float32 for f in (c, p, s))
    again = teacher_features(net.train(), images(2), 8)
    assert all(torch.equal(one, other) for one, other in zip((c, p, s), again, strict=True))
    stage = net.stages(resized(images(2), 128), 4)[-1]
    assert torch.equal(p[:, 8 * 3 + 5], stage[:, :, 3, 5])


def test_network_input_is_what_the_network_was_trained_on():
    values = torch.arange(256.0)
    torch.testing.assert_close(network_input(values / 127.5 - 1), (values - 127) / 128)


def test_resized_keeps_the_range():
    x = torch.sign(images())
    assert resized(x, SIDE) is x
    larger = resized(x, 128)
    assert larger.shape == (BATCH, 3, 128, 128)
    assert larger.abs().max() == 1


# Scores


def test_norm_score_is_standardised():
    p, deep = DRAWS.normal("p", BATCH, 5, 8, 8), DRAWS.normal("deep", BATCH, 7, 4, 4)
    s = norm_score(p, deep)
    assert s.shape == (BATCH, 64)
    torch.testing.assert_close(s.mean(1), torch.zeros(BATCH), atol=1e-5, rtol=0)
    brighter = torch.arange(1.0, BATCH + 1)[:, None, None, None]
    torch.testing.assert_close(norm_score(p * brighter, deep / brighter), s, atol=1e-4, rtol=1e-4)
    alone = norm_score(p, torch.ones_like(deep))
    torch.testing.assert_close(alone.std(1), torch.ones(BATCH))
    norms = p.square().sum(1).sqrt().flatten(1)
    assert np.corrcoef(alone[0].numpy(), norms[0].numpy())[0, 1] == pytest.approx(1, abs=1e-5)


def test_norm_score_is_high_where_the_maps_are_strong():
    p, deep = torch.ones(1, 5, 8, 8), torch.ones(1, 7, 4, 4)
    p[0, :, 2, 5] = 9
    assert norm_score(p, deep).argmax() == 2 * 8 + 5
    assert norm_score(torch.ones_like(p), torch.ones_like(deep)).abs().max() == 0
    deep[0, :, 3, 0] = 9  # the corner at the bottom left
    quarters = norm_score(torch.ones_like(p), deep).view(2, 4, 2, 4).mean((1, 3))
    assert quarters.argmax() == 2


# Rewritten for speed


@pytest.mark.parametrize("side", [32, 64, 66, 70])
def test_a_rewritten_network_equals_the_original(side):
    plain = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    for module in plain.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # statistics that are not those of a new network
            module.running_mean.copy_(0.1 * DRAWS.normal("mean", len(module.running_mean)))
            module.running_var.copy_(DRAWS.uniform("variance", len(module.running_var)) + 0.5)
    rewritten = EfficientNet(copy.deepcopy(plain))
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in rewritten.modules())
    x = DRAWS.uniform("x", 2, 3, side, side) * 2 - 1
    plain.eval()
    with torch.no_grad():
        expected = plain.forward_features(network_input(x))
        found = rewritten.net.bn2(rewritten.net.conv_head(rewritten.stages(x)[-1]))
    assert ((found - expected).norm() / expected.norm()).item() < 1e-4


@pytest.mark.parametrize("side", [6, 7, 8, 9])
@pytest.mark.parametrize("kernel", [3, 5])
def test_a_halving_convolution_pads_as_tensorflow_does(kernel, side):
    layer = Conv2dSame(4, 4, kernel, stride=2, groups=4)
    x = DRAWS.normal("x", 2, 4, side, side)
    torch.testing.assert_close(HalvingConvolution(layer)(x), layer(x))
