"""The parts of peers against independent forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from harness.experiments.scales import SCALES
from models.autoencoders.convolutional import Attention, Down, decoder, encoder, middle
from models.config import Auxiliary, Foundation, Masking, Transformer
from models.layers.mixed_rotary import MixedRotary
from models.layers.modulated import ModulatedBlocks, modulated
from models.layers.transformer import Blocks
from models.objectives.alignment import Features
from models.objectives.auxiliary import AuxiliaryLoss, histograms
from models.objectives.foundation import FoundationLoss, gradient_ratio
from models.objectives.masking import drawn_ratio, image_mask
from tests.conftest import BATCH, DRAWS, experiment, images
from tests.models.test_objective import objective_of, teacher_of


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


# Histograms of oriented gradients


def slow_histogram(x: np.ndarray, side: int) -> np.ndarray:
    """The same by loops over pixels, float64."""
    height = x.shape[-1]
    patch, cell = height // side, height // side // 2
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)), mode="reflect")
    sobel = np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]])
    sums = np.zeros((3, 9, 2 * side, 2 * side))
    line = np.array([math.exp(-((i - (patch - 1) / 2) ** 2) / (2 * (patch / 2) ** 2)) for i in range(patch)])
    window = np.outer(line, line) / np.outer(line, line).sum()
    for channel in range(3):
        for row in range(height):
            for column in range(height):
                around = padded[channel, row : row + 3, column : column + 3]
                along, down = (around * sobel).sum(), (around * sobel.T).sum()
                place = math.floor(9 * math.atan2(along, down) / math.pi) % 9
                weight = window[row % patch, column % patch]
                sums[channel, place, row // cell, column // cell] += math.hypot(along, down) * weight
    sums /= np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    rows = []
    for row in range(side):
        for column in range(side):
            rows.append(sums[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].ravel())
    return np.array(rows)


def test_histograms_are_those_of_a_slow_form():
    x = images(2, 32)
    for image, found in zip(x, histograms(x, 4), strict=True):
        assert found.shape == (16, 108)
        np.testing.assert_allclose(found.numpy(), slow_histogram(image.double().numpy(), 4), atol=2e-4)


def test_auxiliary_losses_are_over_hidden_patches_alone():
    loss = AuxiliaryLoss(Auxiliary(True, Transformer(16, 1, 2), 2.0, 3.0), 4, 5, 3, 6)
    z, x, hidden = DRAWS.normal("z", 2, 5, 3), images(2, 32), torch.zeros(2, 16, dtype=torch.bool)
    hidden[0, 3] = hidden[1, 7] = True
    p = DRAWS.normal("p", 2, 16, 6)
    teacher = Features(DRAWS.normal("c", 2, 6), p, p[..., 0])
    hog, own, targets = loss.hog(z), loss.teacher(z), histograms(x, 4)
    each = []
    for image, place in ((0, 3), (1, 7)):
        squared = ((hog - targets)[image, place] ** 2).sum() / 108
        each.append(2 * squared - 3 * torch.cosine_similarity(own[image, place], p[image, place], dim=0))
    assert loss(z, x, hidden, teacher).item() == pytest.approx(torch.stack(each).mean().item(), rel=1e-4)


# Positions and modulation of MAETok


def test_mixed_angles_are_linear_in_row_and_column_and_zero_off_the_grid():
    rotary = MixedRotary(Transformer(16, 3, 2), 4, before=1, after=2)
    x, y = rotary.frequencies  # (depth, heads, d / 2)
    for block, angles in enumerate(rotary()):
        assert angles.shape == (2, 1 + 16 + 2, 4)
        assert not angles[:, [0, -1, -2]].any()
        for row, column in ((0, 0), (1, 3), (3, 2)):
            torch.testing.assert_close(angles[:, 1 + 4 * row + column], column * x[block] + row * y[block])


def test_mixed_frequencies_begin_along_a_direction_and_its_normal():
    x, y = MixedRotary(Transformer(32, 2, 2), 4, 0, 0).frequencies.detach()
    magnitudes = torch.hypot(x, y)  # pairs of a head of 16: 8, of which four lie along each direction
    expected = torch.tensor([10 ** (-4 * j / 16) for j in range(4)]).repeat(2)
    torch.testing.assert_close(magnitudes, expected.expand_as(magnitudes))
    along, normal = (torch.atan2(y, x)[..., part] for part in (slice(4), slice(4, None)))
    torch.testing.assert_close(torch.cos(along - normal), torch.zeros_like(along), atol=1e-5, rtol=0)
    torch.testing.assert_close(along, along[..., :1].expand_as(along))


def test_only_latent_places_are_modulated():
    y, modulation = DRAWS.normal("y", 2, 5, 4), DRAWS.normal("m", 2, 3, 8)
    found = modulated(y, modulation)
    assert torch.equal(found[:, :2], y[:, :2])
    shift, scale = modulation[..., :4], modulation[..., 4:]
    torch.testing.assert_close(found[:, 2:], y[:, 2:] * scale + shift)


def test_a_new_modulated_decoder_does_not_see_latents_yet():
    blocks, rotary = ModulatedBlocks(Transformer(16, 2, 2), 3), MixedRotary(Transformer(16, 2, 2), 2, 0, 2)
    x, z = DRAWS.normal("x", 2, 6, 16), DRAWS.normal("z", 2, 2, 3)
    other = torch.cat([x[:, :4], DRAWS.normal("other", 2, 2, 16)], dim=1)
    found = blocks(x, z, rotary(), slice(4))
    assert found.shape == (2, 4, 16)
    torch.testing.assert_close(blocks(other, -z, rotary(), slice(4)), found)
    for block in blocks.blocks:
        nn.init.normal_(block.modulation.weight)
    assert (blocks(other, -z, rotary(), slice(4)) - blocks(x, z, rotary(), slice(4))).abs().max() > 0.01


# Tokens that are dropped


def test_hidden_tokens_are_as_if_they_were_not_there():
    blocks, x = Blocks(Transformer(16, 3, 2)), DRAWS.normal("x", 3, 7, 16)
    hidden = torch.zeros(3, 7, dtype=torch.bool)
    hidden[:, [1, 4]] = True
    kept = [0, 2, 3, 5, 6]
    torch.testing.assert_close(blocks(x, hidden=hidden)[:, kept], blocks(x[:, kept]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropping_reads_nothing_of_the_dropped_patches(dtype):
    for variant, fields in (("detok", {}), ("image_masking", {"tokenizer__masking__dropped": True})):
        objective, config = objective_of(variant, **fields), experiment(variant, **fields).tokenizer
        network, n = objective.tokenizer, config.image_tokens(32)
        mask = DRAWS.uniform("mask", BATCH, n) < 0.5
        x = images()
        pixels = mask.view(BATCH, 1, network.side, network.side).repeat_interleave(config.patch_size, 2)
        other = torch.where(pixels.repeat_interleave(config.patch_size, 3), -x, x)
        with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
            one, two = network.encode(x, mask), network.encode(other, mask)
        assert torch.equal(one.mean, two.mean)
        assert not torch.equal(network.encode(x).mean, network.encode(other).mean)


def test_a_dropped_latent_is_the_prior_and_costs_nothing():
    network = objective_of("detok").tokenizer
    mask = DRAWS.uniform("mask", BATCH, 16) < 0.5
    posterior = network.encode(images(), mask)
    assert not posterior.kl()[mask].any()
    assert (posterior.kl()[~mask] != 0).all()
    z = posterior.sample(DRAWS.normal("noise", *posterior.mean.shape))
    assert torch.equal(network.decode(z, mask), network.decode(torch.where(mask[..., None], 7.0, z), mask))


# Laws of masking


def test_the_truncated_normal_law_is_that_of_scipy():
    from scipy.stats import truncnorm

    u = torch.linspace(0.001, 0.999, 50)
    found = drawn_ratio(Masking(True, 0.6, min_ratio=0.4, deviation=0.25), u)
    expected = truncnorm.ppf(u.double().numpy(), (0.4 - 0.6) / 0.25, 0.0, loc=0.6, scale=0.25)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_a_least_ratio_takes_the_place_of_zero():
    u = torch.tensor([0.0, 0.5, 1.0])
    torch.testing.assert_close(drawn_ratio(Masking(True, 0.6, min_ratio=0.2), u), torch.tensor([0.2, 0.4, 0.6]))


def test_rounding_up_hides_the_next_patch():
    draws = DRAWS
    down, up = (
        image_mask(Masking(True, 0.5, min_ratio=0.5, round_up=on), draws, BATCH, 7, None).sum(1) for on in (False, True)
    )
    assert down.tolist() == [3] * BATCH and up.tolist() == [4] * BATCH
    exact = image_mask(Masking(True, 0.7, min_ratio=0.7, round_up=True), draws, BATCH, 10, None)
    assert exact.sum(1).tolist() == [7] * BATCH  # 0.7 * 10 is above 7 in float32


# The vision-foundation loss


def test_the_foundation_loss_is_both_hinges():
    loss = FoundationLoss(Foundation(True, 1.0, distance_margin=0.25, cosine_margin=0.5), 3, 5)
    z, p = DRAWS.normal("z", 2, 4, 3), DRAWS.normal("p", 2, 4, 5)
    own = (z @ loss.project.weight.T).detach().double().numpy()
    theirs = p.double().numpy()
    pairs, marginal = [], []
    for image in range(2):
        a, b = (x[image] / np.linalg.norm(x[image], axis=1, keepdims=True) for x in (own, theirs))
        pairs += [max(0, abs(a[i] @ a[j] - b[i] @ b[j]) - 0.25) for i in range(4) for j in range(4)]
        marginal += [max(0, 1 - 0.5 - a[i] @ b[i]) for i in range(4)]
    found = loss(z, Features(p[:, 0], p, p[..., 0])).item()
    assert found == pytest.approx(np.mean(pairs) + np.mean(marginal), rel=1e-5)


def test_the_foundation_term_is_balanced_at_the_last_layer_of_the_encoder():
    objective = objective_of("va_vae")
    terms = objective(images(), DRAWS, teacher_of("va_vae")).terms
    found = objective.balanced(terms, terms)["foundation"]
    layer = objective.tokenizer.last_of_encoder
    norms = [
        torch.autograd.grad(terms[n], layer, retain_graph=True)[0].norm() for n in ("reconstruction", "foundation")
    ]
    assert found.item() == pytest.approx((norms[0] / (norms[1] + 1e-4)).item(), rel=1e-5)
    assert not found.requires_grad
    silent = gradient_ratio([terms["reconstruction"]], 0 * terms["foundation"], layer)
    assert silent.item() == pytest.approx(norms[0].item() / 1e-4, rel=1e-5)
    assert objective_of("kl_vae").balanced({"kl": torch.zeros(())}, {}) == {}


def test_the_foundation_term_is_balanced_with_image_terms_as_they_are_weighted():
    objective = objective_of("va_vae", lambda x, y: (x - y).square().mean(), tokenizer__perceptual__warmup_steps=10)
    terms = objective(images(), DRAWS, teacher_of("va_vae")).terms
    layer = objective.tokenizer.last_of_encoder
    found = {}
    for step in (0, 9):
        weighted = {name: objective.weights(step)[name] * value for name, value in terms.items()}
        of_images = [weighted["reconstruction"], weighted["perceptual"]]
        found[step] = objective.balanced(terms, weighted)["foundation"].item()
        assert found[step] == pytest.approx(gradient_ratio(of_images, terms["foundation"], layer).item(), rel=1e-5)
    assert found[0] != pytest.approx(found[9], rel=1e-3)


def test_the_likelihood_divides_by_its_scale_and_pays_for_it():
    objective = objective_of("va_vae")
    nn.init.constant_(objective.log_scale, 0.5)
    x = images()
    found = objective.reconstruction_terms(x, 0 * x)["reconstruction"].item()
    assert found == pytest.approx(x.abs().mean().item() * math.exp(-0.5) + 0.5, rel=1e-5)


# Convolutions


def test_downsampling_pads_right_and_below():
    down, x = Down(4), DRAWS.normal("x", 2, 4, 6, 6)
    padded = nn.functional.pad(x, (0, 1, 0, 1))
    assert torch.equal(down(x), nn.functional.conv2d(padded, down.weight, down.bias, stride=2))
    assert down(x).shape == (2, 4, 3, 3)


def test_a_narrow_convolution_learns_colour():
    size = SCALES["tiny"].experiment.tokenizer.convolution
    halves = encoder(size, False, 8), decoder(size.widths[::-1], size.blocks, size.groups, 8, middle)
    network = nn.Sequential(*halves)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    plain = torch.rand(32, 3, 1, 1).expand(-1, -1, 16, 16) * 2 - 1  # images of one colour each
    for _ in range(100):
        made = network(plain)
        optimizer.zero_grad()
        functional.mse_loss(made, plain).backward()
        optimizer.step()
    assert colour(made - plain).square().mean() < 0.4 * colour(plain).square().mean()


def colour(x: torch.Tensor) -> torch.Tensor:
    """What the channels of images differ in: no brightness."""
    return x - x.mean(1, keepdim=True)


def test_attention_has_one_head_over_all_places():
    layer, x = Attention(8, 2), DRAWS.normal("x", 2, 8, 3, 3)
    q, k, v = layer.qkv(layer.norm(x)).flatten(2).chunk(3, dim=1)  # (B, C, h w)
    weights = (q.mT @ k * 8**-0.5).softmax(-1)
    expected = x + layer.proj((v @ weights.mT).unflatten(2, (3, 3)))
    torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-5)
