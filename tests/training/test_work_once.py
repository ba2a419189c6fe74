"""Nothing that a step needs twice is computed twice: rows that frozen networks see, with gradients and without."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from harness.networks import lpips, random_weights
from models.frozen.dinov2 import Teacher
from models.frozen.efficientnet import EfficientNet, PerceptualDistance
from models.frozen.lpips import Lpips
from models.objectives.discriminator import Discriminator
from tests.conftest import BATCH, MACHINE, experiment, images
from tests.training.test_adversary import Decoder, adversary, draws


class Rows:
    """How many images a function of images sees, without and with a gradient."""

    def __init__(self, function):
        self.function, self.plain, self.learning = function, 0, 0

    def __call__(self, x: Tensor, *others):
        if x.requires_grad:
            self.learning += len(x)
        else:
            self.plain += len(x)
        return self.function(x, *others)


@pytest.mark.parametrize(("consistency", "plain"), [(0.0, 1), (10.0, 3)])
def test_the_discriminator_sees_every_view_once(consistency, plain, net):
    """With consistency there are two views of images and of reconstructions; one of them has a gradient."""
    decoder, x = Decoder(), images()
    a = adversary(net, decoder, consistency=consistency)
    seen = Rows(a.discriminator.features)
    seen.widths = a.discriminator.features.widths
    a.discriminator.features = seen
    reconstruction = decoder(x)
    term = a.term(reconstruction, draws(0))
    a.balance({"reconstruction": (reconstruction - x).square().mean()}, term)
    a.learn(x, reconstruction, draws(0), 1)
    assert (seen.learning, seen.plain) == (BATCH, plain * BATCH)


def test_the_gradient_through_the_features_is_taken_once(net):
    """Both the adaptive weight and the tokenizer use it."""
    decoder, x = Decoder(), images()
    a = adversary(net, decoder)
    taken: list[int] = []
    reconstruction = decoder(x)
    read = a.discriminator.features

    def watched(y: Tensor) -> list[Tensor]:
        found = read(y)
        if y.requires_grad:
            found[0].register_hook(lambda gradient: taken.append(len(gradient)))
        return found

    watched.widths = read.widths
    a.discriminator.features = watched
    term = a.term(reconstruction, draws(0))
    weight = a.balance({"reconstruction": (reconstruction - x).square().mean()}, term)
    (weight * term).backward()
    assert decoder.last.grad.any() and taken == [BATCH]


def perceptual_distance(name: str, net: EfficientNet, folder: Path) -> nn.Module:
    if name == "lite":
        return PerceptualDistance(net, 0.5)
    with random_weights.written([experiment(tokenizer__perceptual__lpips=True)], folder):
        return Lpips(lpips.network(lpips.weights_file()), 0.5)


@pytest.mark.parametrize("name", ["lpips", "lite"])
def test_the_perceptual_distance_sees_a_share_of_the_images_once_and_keeps_nothing_of_originals(
    name, net, tmp_path, monkeypatch
):
    distance, x = perceptual_distance(name, net, tmp_path / "weights"), images()
    where, method = (distance, "_features") if name == "lpips" else (distance.net, "stages")
    seen = Rows(getattr(where, method))
    monkeypatch.setattr(where, method, seen)
    distance(x, (0.5 * x).requires_grad_()).backward()
    assert (seen.learning, seen.plain) == (BATCH // 2, BATCH // 2)


class Operators(TorchDispatchMode):
    """The names of the operators, and the dtypes of matrix products."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.products: set[torch.dtype] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function._schema.name.partition("::")[2]
        self.names.append(name)
        if name in ("mm", "addmm", "bmm"):
            self.products.add(args[-1].dtype)
        return function(*args, **(kwargs or {}))


def test_a_teacher_has_fused_attention_in_every_block_and_lower_precision():
    net = timm.create_model("vit_small_patch14_dinov2", pretrained=False, num_classes=0, img_size=56, depth=3)
    teacher, machine = Teacher(net), dataclasses.replace(MACHINE, dtype="bfloat16")
    with Operators() as seen, torch.no_grad(), machine.autocast():
        teacher(images(2, 56))
    assert sum("scaled_dot_product" in name for name in seen.names) == 3
    assert not any("softmax" in name for name in seen.names)
    assert torch.bfloat16 in seen.products and not any("backward" in name for name in seen.names)


def test_no_block_of_a_discriminator_reads_again_what_a_head_reads(net):
    """All heads read one pass."""
    discriminator, seen = Discriminator(adversary(net).discriminator.features), []
    hook = net.net.conv_stem.register_forward_hook(lambda *_: seen.append(1))
    discriminator(images())
    hook.remove()
    assert len(seen) == 1 < len(discriminator.heads)
