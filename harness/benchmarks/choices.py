"""How much each choice for kernels, layouts and guidance gains over its alternative, in calls in turn."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

from harness.benchmarks import scoring
from harness.benchmarks.works import WORKS
from harness.experiments.experiment import Experiment
from harness.experiments.fields import with_fields
from harness.system.machine import Machine, timed

ROUNDS = 7
FEW_ROUNDS = 3  # of calls that take seconds


def measure(experiment: Experiment, machine: Machine) -> list[dict[str, Any]]:
    """The gain of each choice: time without it divided by time with it."""
    pairs = {**_attention(experiment, machine), **_guidance(experiment, machine), **_networks(experiment, machine)}
    ratios = {name: _ratio(slow, fast) for name, (slow, fast) in pairs.items()}
    against = scoring.against_torch_fidelity(machine)
    ratios |= {name: _ratio(slow, fast, FEW_ROUNDS) for name, (slow, fast) in against.items()}
    return [{"choice": name, "ratio": ratio} for name, ratio in ratios.items()]


Pairs = dict[str, tuple[Callable[[], object], Callable[[], object]]]  # the alternative and the choice, by name


def _attention(experiment: Experiment, machine: Machine) -> Pairs:
    import torch
    from torch.nn import functional

    from models.config import Transformer
    from models.layers.transformer import Blocks, attention

    size, batch = experiment.tokenizer.encoder, experiment.training.batch_images
    image, latent = experiment.tokenizer.image_tokens(experiment.data.image_size), experiment.tokenizer.tokens
    shape = (3, batch, size.heads, image + latent, size.width // size.heads)
    qkv = torch.randn(shape, device=machine.device, dtype=getattr(torch, machine.dtype), requires_grad=True)
    blocks = Blocks(Transformer(size.width, 1, size.heads)).to(machine.device)
    x = machine.put(torch.randn(batch, image + latent, size.width))

    def last_block(read: slice, then: slice) -> None:
        with machine.autocast():
            blocks(x, None, read)[:, then].sum().backward()

    latents, everything = slice(image, None), slice(None)
    return {
        f"attention by the rules, over torch's fused kernel ({machine.dtype}, forward and backward)": (
            lambda: functional.scaled_dot_product_attention(*qkv).sum().backward(),
            lambda: attention(*qkv).sum().backward(),
        ),
        "the last block of the encoder on latent tokens alone, over all tokens": (
            lambda: last_block(everything, latents),
            lambda: last_block(latents, everything),
        ),
    }


def _guidance(experiment: Experiment, machine: Machine) -> Pairs:
    low, high = experiment.guidance.intervals[0]
    draw = WORKS["guided sampling"]
    inside = draw(experiment, machine).call
    everywhere = draw(with_fields(experiment, {"guidance.intervals": ((0.0, 1.0),)}), machine).call
    return {f"guidance for t in [{low:g}, {high:g}], over guidance everywhere": (everywhere, inside)}


def _networks(experiment: Experiment, machine: Machine) -> Pairs:
    import timm
    import torch

    from harness.networks import frozen
    from models.frozen.efficientnet import PATCH_STAGE, EfficientNet, PerceptualDistance, network_input

    batch, side = experiment.training.batch_images, experiment.evaluation.metrics_px
    net = frozen.efficientnet_lite(frozen.MEASURE, machine)
    plain: Any = timm.create_model(f"tf_efficientnet_lite{frozen.MEASURE}", pretrained=False).eval()
    plain.to(machine.device).to(memory_format=torch.channels_last)
    images = machine.put(torch.rand(batch, 3, side, side)).contiguous(memory_format=torch.channels_last)
    perceptual = PerceptualDistance(frozen.efficientnet_lite(frozen.PERCEPTUAL, machine))
    x = machine.put(torch.rand(batch, 3, experiment.data.image_size, experiment.data.image_size)).requires_grad_()
    part = max(1, round(experiment.tokenizer.perceptual.batch_share * batch))

    def as_timm_has_it() -> None:
        with torch.no_grad():
            h = plain.bn1(plain.conv_stem(network_input(images)))
            for stage in plain.blocks[: PATCH_STAGE + 1]:
                h = stage(h)

    def features(net: EfficientNet) -> None:
        with torch.no_grad():
            net.stages(images, PATCH_STAGE)

    def distance(count: int) -> None:
        with machine.autocast():
            perceptual(x[:count].detach(), x[:count]).backward()

    return {
        "Lite2 with folded norms and padding, over timm's": (as_timm_has_it, lambda: features(net)),
        f"perceptual distance on {part} of {batch} images, over all": (lambda: distance(batch), lambda: distance(part)),
    }


def _ratio(slow: Callable[[], object], fast: Callable[[], object], rounds: int = ROUNDS) -> float:
    """The median ratio of calls in turn, because the speed of the machine drifts."""
    slow()
    fast()
    return statistics.median(timed(slow) / timed(fast) for _ in range(rounds))
