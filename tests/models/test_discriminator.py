from __future__ import annotations

import copy
import itertools
import math

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.system.randomness import Draws, Part
from models.config.terms import PATCHGAN_PX
from models.objectives.diffaug import AXES, augmented, coloured, cut_out, translated, whole
from models.objectives.discriminator import (
    DinoReadouts,
    Discriminator,
    LiteReadouts,
    adaptive_weight,
    consistency,
    generator_hinge,
    hinge,
    lecam,
    resized,
)
from models.objectives.patchgan import Pixels
from tests.conftest import BATCH, DRAWS, SIDE, images

# Augmentation


def shown(x: Tensor, draws: Draws, name: str) -> Tensor:
    """What the augmentation should be, pixel by pixel, in float64."""
    names = ["brightness", "saturation", "contrast"]
    places = [f"translation of {axis}" for axis in AXES] + [f"{axis} of cut-out" for axis in AXES]
    drawn = [draws.uniform(f"{name}, {what}", len(x)).tolist() for what in names + places]
    result = torch.zeros(x.shape, dtype=torch.float64)
    for i, image in enumerate(x.double()):
        brightness, saturation, contrast, *rest = (u[i] for u in drawn)
        side = image.shape[-1]
        down, right = (math.floor(u * (2 * round(side / 8) + 1)) - round(side / 8) for u in rest[:2])
        cut = round(0.2 * side)
        row, column = (math.floor(u * (side + 1 - cut % 2)) for u in rest[2:])  # the middle
        brighter = image + brightness - 0.5
        grey = sum(brighter) / 3
        vivid = torch.stack([2 * saturation * channel + (1 - 2 * saturation) * grey for channel in brighter])
        strong = (contrast + 0.5) * vivid + (0.5 - contrast) * vivid.sum() / vivid.numel()
        for r in range(side):
            for c in range(side):
                inside = 0 <= r - down < side and 0 <= c - right < side
                hidden = -(cut // 2) <= r - row < cut - cut // 2 and -(cut // 2) <= c - column < cut - cut // 2
                if inside and not hidden:
                    result[i, :, r, c] = strong[:, r - down, c - right]
    return result


@pytest.mark.parametrize("side", [16, 23])
def test_augmentation_is_as_written_out(side):
    x = images(side=side)
    torch.testing.assert_close(augmented(x, DRAWS, "a").double(), shown(x, DRAWS, "a"), atol=1e-6, rtol=1e-5)


def test_augmentation_is_equal_on_both_sides_and_another_by_another_name():
    x, colours = images(), DRAWS.uniform("colours", BATCH, 3, SIDE, SIDE)
    same = augmented(x, DRAWS, "a")
    assert torch.equal(augmented(x.clone(), DRAWS, "a"), same)
    assert not torch.equal(augmented(x, DRAWS, "b"), same)
    assert not torch.equal(augmented(x, Draws(0, "tests", 1), "a"), same)
    zeros = [augmented(y, DRAWS, "a") == 0 for y in (x, colours)]
    assert torch.equal(*zeros)  # the same places are moved in and cut out
    assert zeros[0].any()


@pytest.mark.parametrize("of", [2, 3])
def test_augmentation_of_parts_is_that_of_the_whole(of):
    x = images()
    whole_batch = augmented(x, DRAWS, "a")
    for part in (Part(index, of) for index in range(of)):
        alone = augmented(part(x), Draws(0, "tests", 0, part=part), "a")
        assert torch.equal(alone, part(whole_batch))


def test_augmentation_is_differentiable():
    x = images(2, 8).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: augmented(x, DRAWS, "a"), x)


def test_augmentation_is_float32_under_autocast():
    x = images()
    with torch.autocast("cpu", torch.bfloat16):
        within = augmented(x, DRAWS, "a")
    assert torch.equal(within, augmented(x, DRAWS, "a"))


def test_translation_moves_pixels_exactly():
    x = images(4, 8)
    moved = translated(x, torch.tensor([0, 2, -3, 8]), torch.tensor([0, -1, 4, 0]))
    assert torch.equal(moved[0], x[0])
    assert torch.equal(moved[1, :, 2:, :-1], x[1, :, :-2, 1:])
    assert torch.equal(moved[2, :, :-3, 4:], x[2, :, 3:, :-4])
    assert (moved != 0).sum((1, 2, 3)).tolist() == [192, 3 * 6 * 7, 3 * 5 * 4, 0]


def test_cut_out_has_its_area_but_at_the_border():
    x = torch.ones(3, 3, 10, 10)
    cut = cut_out(x, 4, torch.tensor([3, -2, 9]), torch.tensor([6, 2, 9]))
    assert (cut == 0).sum((1, 2, 3)).tolist() == [3 * 16, 3 * 8, 3]
    assert not cut[0, :, 3:7, 6:].any()
    assert not cut[2, :, 9, 9].any()


def test_colours():
    x, ones = images(), torch.ones(BATCH)
    none = 0 * ones
    torch.testing.assert_close(coloured(x, none, ones, ones), x, atol=1e-6, rtol=0)
    torch.testing.assert_close(coloured(x, 0.3 * ones, ones, ones), x + 0.3, atol=1e-6, rtol=0)
    grey = coloured(x, none, none, ones)
    torch.testing.assert_close(grey, x.mean(1, keepdim=True).expand_as(x), atol=1e-6, rtol=0)
    flat = coloured(x, none, ones, none)
    torch.testing.assert_close(flat, x.mean((1, 2, 3), keepdim=True).expand_as(x), atol=1e-6, rtol=0)


def test_whole_numbers_are_all_as_likely():
    u = (torch.arange(70_000) + 0.5) / 70_000
    assert whole(u, 7).bincount().tolist() == [10_000] * 7
    highest = torch.tensor(1 - 2**-24)  # of what torch draws
    assert all(whole(highest, n) == n - 1 for n in range(1, 600))


# Features


@pytest.fixture(scope="module")
def vit() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return timm.create_model("vit_small_patch16_224", pretrained=False, drop_rate=0.5, drop_path_rate=0.5)


def test_dino_readouts_are_what_the_network_says_of_its_blocks(vit):
    readouts = DinoReadouts(vit.train())
    x = images(1, 224)
    read = readouts(x)
    assert [tuple(h.shape) for h in read] == [(1, width, 196) for width in readouts.widths] == [(1, 384, 196)] * 5
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet
    normalised = torch.stack([((x[:, i] + 1) / 2 - mean[i]) / std[i] for i in range(3)], dim=1)
    with torch.no_grad():
        expected = vit.forward_intermediates(normalised, indices=[2, 5, 8, 11], intermediates_only=True)
        embedded = vit.patch_embed.proj(normalised).flatten(2) + vit.pos_embed[:, 1:].mT
    torch.testing.assert_close(read[0], embedded, atol=1e-5, rtol=1e-5)
    for h, map_of_block in zip(read[1:], expected, strict=True):
        torch.testing.assert_close(h, map_of_block.flatten(2), atol=1e-5, rtol=1e-5)


def test_dino_readouts_take_images_of_any_size_and_teach_them(vit):
    x = images(1, 48).requires_grad_()
    read = DinoReadouts(vit)(x)
    sum(h.square().mean() for h in read).backward()
    assert x.grad.isfinite().all() and x.grad.any()
    assert all(p.grad is None and not p.requires_grad for p in vit.parameters())


def test_lite_readouts(net):
    readouts = LiteReadouts(net)
    x = images(2).requires_grad_()
    read = readouts(x)
    assert [tuple(h.shape) for h in read] == [(2, 24, 256), (2, 40, 64), (2, 112, 16)]
    assert readouts.widths == (24, 40, 112)
    stages = net.stages(resized(x, 64))
    assert all(torch.equal(h, stages[i].flatten(2)) for h, i in zip(read, (1, 2, 4), strict=True))
    assert [h.shape[-1] for h in readouts(images(1, 96))] == [576, 144, 36]
    sum(h.square().mean() for h in read).backward()
    assert x.grad.isfinite().all() and x.grad.any()


@pytest.mark.parametrize("side", [64, 23, 32])
def test_resizing_is_antialiased_bicubic(side):
    x = images()
    expected = functional.interpolate(x, size=(side, side), mode="bicubic", antialias=True)
    torch.testing.assert_close(resized(x, side), expected, atol=1e-5, rtol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(resized(x, side), expected, atol=1e-5, rtol=1e-5)


def test_resizing_lets_gradients_through_beyond_the_range():
    x = torch.full((1, 3, SIDE, SIDE), 2.0, requires_grad=True)
    resized(x, 64).sum().backward()
    torch.testing.assert_close(x.grad, torch.full_like(x, 4), atol=0.5, rtol=0)


# Discriminator


@pytest.fixture
def discriminator(net) -> Discriminator:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Discriminator(LiteReadouts(net))


def test_logits_of_all_places_in_float32(discriminator):
    logits = discriminator(images())
    assert (logits.shape, logits.dtype) == ((BATCH, 256 + 64 + 16), torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        lower = discriminator(images())
    assert lower.dtype == torch.float32
    torch.testing.assert_close(lower, logits, atol=0.1, rtol=0.1)
    assert not torch.equal(lower, logits)


def test_an_image_is_judged_by_itself(discriminator):
    x = images()
    together, alone = discriminator(x), torch.cat([discriminator(image[None]) for image in x])
    torch.testing.assert_close(alone, together, atol=1e-5, rtol=1e-5)


def test_every_head_mixes_places_of_one_ring(discriminator):
    """A change at one place reaches the four places on either side, around the ends, through the convolutions alone."""
    head = copy.deepcopy(discriminator.heads[0])
    for layer in (head.embed, head.mix):
        layer[1] = nn.Identity()  # norms reach everywhere
    h = DRAWS.normal("tokens", 1, 24, 20)
    changed = h.clone()
    changed[:, :, 1] += 1
    reached = (head(h) != head(changed))[0].nonzero()[:, 0].tolist()
    assert reached == [0, 1, 2, 3, 4, 5, 17, 18, 19]


def test_the_wide_convolution_is_residual(discriminator):
    head, h = copy.deepcopy(discriminator.heads[0]), DRAWS.normal("tokens", 2, 24, 20)
    nn.init.zeros_(head.mix[1].weight)
    torch.testing.assert_close(head(h), head.to_logit(head.embed(h) / 2**0.5)[:, 0])


def test_norms_are_over_groups_of_channels_of_one_image(discriminator):
    convolution, norm, _ = discriminator.heads[0].embed
    h = norm(convolution(DRAWS.normal("tokens", 2, 24, 20))).unflatten(1, (8, 3))
    torch.testing.assert_close(h.mean((2, 3)), torch.zeros(2, 8), atol=1e-5, rtol=0)
    torch.testing.assert_close(h.var((2, 3), correction=0), torch.ones(2, 8), atol=1e-2, rtol=0)


def test_spectral_norms_are_taken_without_autocast(discriminator):
    """On some devices it would lower part of what they multiply, which torch refuses to mix."""
    seen = []
    norm = discriminator.heads[0].embed[0].parametrizations.weight[0]
    norm.register_forward_hook(lambda *_: seen.append(torch.is_autocast_enabled("cpu")))
    with torch.autocast("cpu", torch.bfloat16):
        discriminator(images(1))
    assert seen == [False]


def test_the_features_stay_frozen_and_unsaved(discriminator, net):
    x = images(2)
    before = discriminator(x)
    state = {name: value.clone() for name, value in net.state_dict().items()}
    assert not discriminator.train().training
    assert not any(module.training for module in discriminator.modules())
    discriminator(x).sum().backward()
    assert torch.equal(discriminator(x), before)
    assert all(torch.equal(state[name], value) for name, value in net.state_dict().items())
    ours = {id(p) for p in discriminator.parameters()}
    assert not any(p.requires_grad or p.grad is not None or id(p) in ours for p in net.parameters())
    assert all(name.startswith("heads.") for name in discriminator.state_dict())
    assert all(p.requires_grad and p.grad.any() for p in discriminator.parameters())


def test_only_power_iterations_move_spectral_norms(discriminator):
    with torch.no_grad():
        for p in discriminator.parameters():
            p.add_(0.05 * DRAWS.normal(f"weights of {tuple(p.shape)}", *p.shape))
    state = {name: value.clone() for name, value in discriminator.state_dict().items()}
    first = discriminator(images(2))
    assert torch.equal(discriminator(images(2)), first)
    assert all(torch.equal(state[name], value) for name, value in discriminator.state_dict().items())
    discriminator.power_iteration()
    moved = {name for name, value in discriminator.state_dict().items() if not torch.equal(state[name], value)}
    vectors = {name for name in state if name.endswith(("._u", "._v"))}
    assert moved <= vectors
    assert len(vectors) == 2 * 3 * len(discriminator.heads)
    assert len(moved) > len(vectors) // 2  # those of one output channel do not
    assert not torch.equal(discriminator(images(2)), first)
    assert not discriminator.heads[0].mix[0].parametrizations.weight.training


def test_one_power_iteration_is_one(discriminator):
    convolution = discriminator.heads[1].embed[0]
    norm = convolution.parametrizations.weight
    matrix = norm.original.detach()[:, :, 0]
    with torch.no_grad():
        norm[0]._v.copy_(functional.normalize(DRAWS.normal("v", matrix.shape[1]), dim=0))
    u = functional.normalize(matrix @ norm[0]._v, dim=0)
    v = functional.normalize(matrix.T @ u, dim=0)
    convolution.power_iteration()
    torch.testing.assert_close(norm[0]._u, u)
    torch.testing.assert_close(norm[0]._v, v)
    for _ in range(300):
        convolution.power_iteration()
    assert torch.linalg.matrix_norm(convolution.weight[:, :, 0], 2).item() == pytest.approx(1, abs=1e-3)


# Losses


def test_hinges_by_hand():
    real, fake = torch.tensor([[2.0, 0.5]]), torch.tensor([[-3.0, 0.5]])
    assert hinge(real, fake).item() == pytest.approx((0 + 0.5) / 2 + (0 + 1.5) / 2)
    assert generator_hinge(fake).item() == pytest.approx(1.25)


def test_consistency_by_hand():
    real, fake = torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, -1.0]])
    assert consistency(real, fake, real + torch.tensor([[1.0, 3.0]]), fake + 2).item() == pytest.approx(5 + 4)
    assert consistency(real, fake, real, fake).item() == 0


def test_lecam_by_hand():
    real, fake = torch.tensor([[2.0, -1.0]]), torch.tensor([[-3.0, 0.5]])
    # D(x) above the average of reconstructions by 2.5 or not at all; D(x̂) below that of images by 4 and 0.5
    assert lecam(real, fake, 1.0, -0.5).item() == pytest.approx(6.25 / 2 + (16 + 0.25) / 2)


def test_adaptive_weight_by_hand():
    last = torch.tensor([3.0, 4.0], requires_grad=True)
    assert adaptive_weight(torch.tensor([3.0, 4.0]), torch.tensor([0.0, 2.0])).item() == pytest.approx(5 / 2.0001)
    assert adaptive_weight(last, 0 * last).item() == pytest.approx(1e4)  # not 5e4
    assert adaptive_weight(0 * last, last).item() == 0
    assert not adaptive_weight(last, last).requires_grad


# PatchGAN


def patchgan() -> Discriminator:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Discriminator(Pixels())


def test_patchgan_judges_patches_of_single_images():
    network, x = patchgan(), images(side=PATCHGAN_PX)
    logits = network(x)
    assert logits.shape == (len(x), 4) and logits.dtype == torch.float32
    torch.testing.assert_close(network(x[1:2]), logits[1:2], atol=1e-5, rtol=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(network(x), logits)  # computed in float32 on the CPU
    network.power_iteration()  # it has no spectral norms
    torch.testing.assert_close(network(x), logits)


def test_patchgan_has_the_published_weights_without_batch_norms():
    """Kernels 4 x 4 of 64, 128, 256, 512 and 1 channels; the first layer has no norm."""
    sizes = [3, 64, 128, 256, 512, 1]
    convolutions = sum(16 * a * b + b for a, b in itertools.pairwise(sizes))
    norms = 2 * sum(sizes[2:-1])
    assert sum(p.numel() for p in patchgan().parameters()) == convolutions + norms


def test_all_layers_of_patchgan_learn():
    network, x = patchgan(), images(side=PATCHGAN_PX)
    network(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in network.parameters())
