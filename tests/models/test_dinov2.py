"""DINOv2 as a teacher and as the start of an encoder, on small ViTs of random weights, against timm's own layers."""

from __future__ import annotations

import pytest
import timm
import torch
from timm.layers import resample_patch_embed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

from models import config
from models.autoencoders.tokenizer import patches, unpatches
from models.autoencoders.vit_1d import ViT1D
from models.config import Gaussian, LatentMasking, Masking, Transformer
from models.frozen.dinov2 import PATCH, Teacher, initialise_encoder, normalised, positions, resampled_kernel
from tests.conftest import DRAWS, images

WIDTH, DEPTH, HEADS = 48, 2, 3
GRID = 4
SIDE = GRID * PATCH
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


def vit(grid: int = GRID, depth: int = DEPTH, **options: object) -> VisionTransformer:
    """timm's ViT of DINOv2, small, every tensor drawn so that it shows: norms, biases and LayerScale too."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sizes = {"img_size": grid * PATCH, "embed_dim": WIDTH, "depth": depth, "num_heads": HEADS}
        net = VisionTransformer(patch_size=PATCH, num_classes=0, init_values=1.0, **sizes, **options)
        for name, parameter in net.named_parameters():
            if parameter.ndim < 2:
                nn.init.normal_(parameter, float("norm" in name), 0.3)
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=0.15)
        nn.init.normal_(net.pos_embed)
        nn.init.normal_(net.patch_embed.proj.weight, std=0.05)
    return net.eval()


def tokenizer(patch: int = PATCH, grid: int = GRID) -> ViT1D:
    """With all its optional tokens."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        size, of_decoder = Transformer(WIDTH, DEPTH, HEADS), Transformer(16, 1, 1)
        parts = {"gaussian": Gaussian(on=True), "masking": Masking(on=True), "latent_masking": LatentMasking(on=True)}
        return ViT1D(config.Tokenizer(patch, GRID, 4, size, of_decoder, **parts), grid * patch)


def as_trained(x: Tensor) -> Tensor:
    """[-1, 1] as ImageNet's networks see it."""
    return ((x + 1) / 2 - MEAN[:, None, None]) / STD[:, None, None]


# The teacher


@torch.no_grad()
def test_features_are_those_of_timm_after_the_last_norm():
    net, x = vit(), images(2, 32)
    c, p, s = Teacher(net)(x)
    resized = functional.interpolate(x, size=(SIDE, SIDE), mode="bicubic", antialias=True).clamp(-1, 1)
    h = net.patch_embed.proj(as_trained(resized)).flatten(2).mT
    h = torch.cat([net.cls_token.expand(2, -1, -1), h], 1) + net.pos_embed
    for block in net.blocks:
        h = block(h)
    h = net.norm(h)
    torch.testing.assert_close(c, h[:, 0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(p, h[:, 1:], atol=1e-5, rtol=1e-5)
    assert (c.shape, p.shape, s.shape) == ((2, WIDTH), (2, GRID**2, WIDTH), (2, GRID**2))
    for image in range(2):
        for token in range(GRID**2):
            a, b = c[image], p[image, token]
            assert s[image, token].item() == pytest.approx((a @ b / a.norm() / b.norm()).item(), abs=1e-5)


def test_patch_tokens_are_in_row_order():
    teacher, x = Teacher(vit(depth=0)), images(1, SIDE)
    other = x.clone()
    other[..., 2 * PATCH : 3 * PATCH, PATCH : 2 * PATCH] *= -1
    assert (teacher(x).p != teacher(other).p).any(-1)[0].nonzero().tolist() == [[2 * GRID + 1]]


def test_a_teacher_stays_in_evaluation_mode_and_gives_no_gradient():
    teacher, x = Teacher(vit(proj_drop_rate=0.5, pos_drop_rate=0.5)), images(2, SIDE).requires_grad_()
    before = teacher(x)
    nn.ModuleList([teacher]).train()
    assert not any(module.training for module in teacher.modules())
    after = teacher(x)
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert not any(f.requires_grad for f in after)
    assert not any(p.requires_grad for p in teacher.parameters())


def test_features_are_float32_under_autocast():
    teacher, x = Teacher(vit()), images(2, SIDE)
    with torch.autocast("cpu", torch.bfloat16):
        rough = teacher(x)
    for found, exact in zip(rough, teacher(x), strict=True):
        assert found.dtype == torch.float32
        assert not torch.equal(found, exact)
        assert functional.cosine_similarity(found.flatten(1), exact.flatten(1)).min() > 0.99


def test_0_and_1_are_the_ends_of_what_the_network_was_trained_on():
    ends = torch.tensor([0.0, 1.0])[:, None, None, None].expand(2, 3, 2, 2)
    torch.testing.assert_close(normalised(ends)[0, :, 0, 1], -MEAN / STD)
    torch.testing.assert_close(normalised(ends)[1, :, 1, 0], (1 - MEAN) / STD)


# The start of an encoder


@torch.no_grad()
def test_at_the_same_patches_and_grid_the_encoder_is_the_network_block_by_block():
    net, ours, x = vit(), tokenizer(), images(2, SIDE)
    initialise_encoder(ours, net.state_dict())
    h = ours.embed(patches(x, ours.side)) + ours.image_positions
    expected = net.patch_embed(as_trained(x)) + net.pos_embed[:, 1:]
    *blocks, norm = ours.encoder
    torch.testing.assert_close(h, expected, atol=1e-4, rtol=1e-4)
    for block, theirs in zip(blocks, net.blocks, strict=True):
        before = expected
        h, expected = block(h), theirs(expected)
        torch.testing.assert_close(h, expected, atol=1e-4, rtol=1e-4)
        assert (expected - before).abs().mean() > 0.1
    torch.testing.assert_close(norm(h), net.norm(expected), atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("patch", [14, 16, 20])
def test_larger_patches_are_embedded_as_the_network_embeds_the_smaller(patch):
    net, ours, x = vit(), tokenizer(patch), images(2, SIDE)
    initialise_encoder(ours, net.state_dict())
    pieces = functional.unfold(x, PATCH, stride=PATCH).mT.reshape(-1, 3, PATCH, PATCH)
    pieces = functional.interpolate(pieces, size=(patch, patch), mode="bicubic", antialias=True)
    enlarged = unpatches(pieces.reshape(2, GRID**2, -1), ours.side)
    embedded = ours.embed(patches(enlarged, ours.side))
    torch.testing.assert_close(embedded, net.patch_embed(as_trained(x)), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("side", [4, 8, 14, 16, 32])
def test_kernels_are_resampled_as_in_timm(side):
    kernel = vit().patch_embed.proj.weight.detach()
    found = resampled_kernel(kernel, side)
    assert found.shape == (WIDTH, 3, side, side)
    torch.testing.assert_close(found, resample_patch_embed(kernel, [side, side]), atol=1e-4, rtol=1e-3)


def test_positions_are_resampled_to_the_grid():
    net, ours = vit(grid=10), tokenizer(8)
    initialise_encoder(ours, net.state_dict())
    assert torch.equal(ours.image_positions, positions(net.pos_embed, GRID)[:, 1:])
    rising = torch.linspace(0, 1, 10)[:, None].expand(10, 10).reshape(1, -1, 1)  # by rows
    found = positions(torch.cat([torch.full((1, 1, 1), 7.0), rising], 1), 5)
    assert found[0, 0] == 7
    rows = found[0, 1:, 0].view(5, 5)
    torch.testing.assert_close(rows, rows[:, :1].expand(5, 5))
    assert (rows[1:, 0] > rows[:-1, 0]).all()


def test_only_the_encoder_of_images_is_set():
    ours, fresh = tokenizer(), tokenizer()
    initialise_encoder(ours, vit().state_dict())
    changed = {name for name, x in ours.state_dict().items() if not torch.equal(x, fresh.state_dict()[name])}
    of_images = ("embed.", "image_positions", "encoder.")
    assert changed == {name for name in ours.state_dict() if name.startswith(of_images)}
    assert all(parameter.requires_grad for parameter in ours.parameters())
    noise = DRAWS.normal("noise", 2, GRID, 4)
    ours.decode(ours.encode(images(2, SIDE)).sample(noise)).mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in ours.encoder.parameters())


def test_names_are_those_of_the_network_in_timm():
    with torch.device("meta"):
        published = timm.create_model("vit_small_patch14_dinov2", num_classes=0)
    ours = vit(depth=12).state_dict()
    assert set(published.state_dict()) == set(ours)
