"""FLOPs by formula against torch's counter, on the meta device where the network allows it: nothing is computed."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from typing import Any

import lpips as lpips_package
import pytest
import timm
import torch
from torch import nn
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from harness.benchmarks.flop_counter import counted_flops
from harness.experiments.experiment import UNGUIDED, Evaluation, Experiment, Guide, Sampling, finetuning_schedule
from harness.experiments.fields import with_fields
from harness.experiments.scales import SCALES
from harness.networks import flops, teachers
from harness.planning.gpus import Pace
from harness.stages import finetuning, generator, guided_samples, teacher_features, tokenizer
from harness.system import plugins
from harness.system.machine import Machine
from harness.training.adversary import Adversary
from models import generators, tokenizers
from models.config import Adversarial, Alignment, Codes, Gaussian, ProxyCodes, Tokenizer, Transformer
from models.flows.flow import Repa
from models.flows.guidance import guided
from models.flows.samplers import SAMPLERS, times
from models.forms import Latents
from models.frozen.dinov2 import Teacher
from models.frozen.efficientnet import EfficientNet, PerceptualDistance, resized
from models.frozen.efficientnet import teacher_features as features_of
from models.frozen.lpips import Lpips
from models.objectives.alignment import AlignmentLoss, Features
from models.objectives.discriminator import DinoReadouts, Discriminator, LiteReadouts
from models.objectives.objective import DecoderObjective, Objective
from models.objectives.patchgan import Pixels
from models.variants import VARIANTS
from tests.conftest import DRAWS, WIDTHS, experiment

CLOSE = 0.02
VIT_B = Transformer(768, 12, 12)
MANY = Tokenizer(4, 64, 512, Transformer(64, 1, 2), Transformer(64, 1, 2))
WIDE = Tokenizer(16, 128, 32, VIT_B, VIT_B)
TOKENIZERS = {
    **{f"{name} at smoke": (experiment(name).tokenizer, 32) for name in VARIANTS},
    "tiny": (SCALES["tiny"].experiment.tokenizer, 32),
    "base at 256 px": (dataclasses.replace(WIDE, gaussian=Gaussian(True)), 256),
    "many latents": (MANY, 32),
    "many latents, sampled": (dataclasses.replace(MANY, gaussian=Gaussian(True)), 32),
    "uneven at 512 px": (
        Tokenizer(16, 64, 16, Transformer(384, 12, 6), VIT_B, gaussian=Gaussian(True), rotary=True),
        512,
    ),
    "two stages at 256 px": (
        dataclasses.replace(WIDE, name="titok", codes=Codes(True), proxy_codes=ProxyCodes(True)),
        256,
    ),
}
SIZES = [Transformer(384, 12, 6), Transformer(1152, 28, 16)]


@pytest.fixture
def meta():
    """Everything is made on the meta device."""
    with torch.device("meta"), torch.no_grad():
        yield


def lite(size: int) -> EfficientNet:
    return EfficientNet(timm.create_model(f"tf_efficientnet_lite{size}", pretrained=False))


# Networks


@pytest.mark.parametrize("name", TOKENIZERS)
def test_encoder_and_decoder(name, meta):
    config, side = TOKENIZERS[name]
    network, form = tokenizers.network(config, side), tokenizers.latents(config, side)
    x, z = torch.empty(2, 3, side, side), torch.empty(2, *form[:2])
    cost = tokenizers.cost(config, side)
    assert 2 * cost.encoder.flops == pytest.approx(counted_flops(lambda: network.encode(x)), rel=CLOSE)
    assert 2 * cost.decoder.flops == pytest.approx(counted_flops(lambda: network.decode(z)), rel=CLOSE)


@pytest.mark.parametrize("terms", [(True, False), (False, True), (True, True), (False, False)])
def test_alignment_heads(terms, meta):
    alignment, form = Alignment(*terms, hidden=512), Latents(4, 8)
    teacher = Features(torch.empty(1, 768), torch.empty(1, 64, 384), torch.empty(1, 64))
    expected = 0.0
    if any(terms):
        loss = AlignmentLoss(alignment, form.channels, 384, 768)
        expected = counted_flops(lambda: loss(torch.empty(1, *form[:2]), teacher))
    assert flops.alignment(alignment, form, 384, 768) == pytest.approx(expected, rel=CLOSE)


@pytest.mark.parametrize("variant", ["maetok", "va_vae"])
def test_heads_of_peers(variant, meta):
    e = dataclasses.replace(experiment(variant), teacher="efficientnet_lite0")
    objective = Objective(e.tokenizer, 32, WIDTHS)
    z, n = torch.empty(1, *e.latents[:2]), e.tokenizer.image_tokens(32)
    teacher = Features(torch.empty(1, WIDTHS[1]), torch.empty(1, n, WIDTHS[0]), torch.empty(1, n))
    if variant == "maetok":
        expected = counted_flops(lambda: [head(z) for head in (objective.auxiliary.hog, objective.auxiliary.teacher)])
    else:
        expected = counted_flops(lambda: objective.foundation(z, teacher))
    assert flops.heads(e) == pytest.approx(expected, rel=CLOSE)


@pytest.mark.parametrize("patches", [8, 32])
@pytest.mark.parametrize("name", teachers.TEACHERS)
def test_teachers(name, patches, meta):
    x = torch.empty(1, 3, 256, 256)
    if name == "pixels":
        expected = 0.0
    elif name.startswith(("efficientnet", "random")):
        net = lite(0)
        expected = counted_flops(lambda: features_of(net, x, patches))
    else:
        size = {"s": "small", "b": "base", "l": "large"}[name.removeprefix("dinov2_vit")[0]]
        made = timm.create_model(f"vit_{size}_patch14_dinov2", num_classes=0, img_size=14 * patches)
        expected = counted_flops(lambda: Teacher(made)(x))
    assert flops.teacher(name, patches) == pytest.approx(expected, rel=CLOSE)


@pytest.mark.filterwarnings(
    "ignore::UserWarning:torchvision.models._utils"
)  # the package lpips calls it as it was once called
@pytest.mark.parametrize("by_lpips", [False, True])
def test_perceptual_distances_look_at_two_images(by_lpips, meta):
    side = 128
    config = with_fields(TOKENIZERS["tiny"][0], {"perceptual.on": True, "perceptual.lpips": by_lpips})
    distance: nn.Module = PerceptualDistance(lite(1))
    if by_lpips:
        net = lpips_package.LPIPS(pretrained=False, net="vgg", pnet_rand=True, verbose=False)
        distance = Lpips(net).to("meta")  # its buffers are made elsewhere
    x = torch.empty(1, 3, side, side)
    expected = counted_flops(lambda: distance(x, x))
    assert 2 * flops.perceptual(config, side) == pytest.approx(expected, rel=CLOSE)


@pytest.mark.parametrize(
    ("name", "side"),
    [("dino_vits16", 256), *((name, px) for name in ("efficientnet_lite0", "patchgan") for px in (32, 96))],
)
@torch.no_grad()
def test_discriminators(name, side):
    features: Any = Pixels() if name == "patchgan" else LiteReadouts(lite(0))
    if name.startswith("dino"):
        features = DinoReadouts(timm.create_model("vit_small_patch16_224", num_classes=0))
    network = Discriminator(features)  # not on the meta device, which has no spectral norms
    x = torch.zeros(1, 3, side, side)
    frozen, heads = flops.discriminator(Adversarial(features=name), side)
    expected = counted_flops(lambda: features(x))
    assert frozen == pytest.approx(expected, rel=CLOSE)
    assert heads == pytest.approx(counted_flops(lambda: network(x)) - expected, rel=CLOSE)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", sorted(generators.FLOWS))
def test_generators(name, size, meta):
    network = plugins.load("models.generators", name, "generator").Network(size, Latents(128, 32), 1000)
    x, t, y = torch.empty(2, 128, 32), torch.empty(2), torch.empty(2, dtype=torch.long)
    cost = generators.cost(name, size, Latents(128, 32)).flops
    assert 2 * cost == pytest.approx(counted_flops(lambda: network(x, t, y)), rel=CLOSE)


class Bare(FeatureExtractorInceptionV3):
    """Inception as it is made, without weights."""

    def load_state_dict(self, *_: object, **__: object) -> None: ...


def by_inception() -> Callable[[], object]:
    empty = io.BytesIO()
    torch.save({}, empty)
    empty.seek(0)
    net = Bare("bare", ["2048", "logits_unbiased"], feature_extractor_weights_path=empty)
    return lambda: net(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))


def by_dinov2() -> Callable[[], object]:
    net = timm.create_model("vit_large_patch14_dinov2", num_classes=0, img_size=224)
    return lambda: net(torch.empty(1, 3, 224, 224))


def by_lite2() -> Callable[[], object]:
    net = lite(2)
    return lambda: net.logits(net.stages(resized(torch.empty(1, 3, 32, 32), 64))[-1])


MEASURES = {"inception": by_inception, "dinov2": by_dinov2, "lite2": by_lite2}


@pytest.mark.parametrize("name", plugins.names("harness.networks.measures"))
def test_measures(name, meta):
    assert flops.measure(Evaluation(measure=name, metrics_px=64)) == pytest.approx(
        counted_flops(MEASURES[name]()), rel=CLOSE
    )


def test_no_other_measure_is_lite2():
    assert flops.measure(Evaluation(metrics_px=64)) == flops.measure(Evaluation(measure="lite2", metrics_px=64))


# Training and drawing


def small(**fields: object) -> Experiment:
    """Deep enough that what the first layer needs no gradient for is little."""
    sizes = {f"tokenizer__{part}__{what}": n for part in ("encoder", "decoder") for what, n in SMALL.items()}
    return experiment("mactok", **{**sizes, "training__batch_images": 4, **fields})


SMALL = {"width": 64, "depth": 6}


def step(objective: nn.Module, *batch: object) -> float:
    def run() -> None:
        terms = objective(*batch).terms
        torch.stack(list(terms.values())).sum().backward()

    return counted_flops(run)


@pytest.fixture(scope="module")
def objective() -> Objective:
    e = small()
    perceptual = PerceptualDistance(lite(1), e.tokenizer.perceptual.batch_share)
    return Objective(e.tokenizer, e.data.image_size, WIDTHS, perceptual)


def test_a_step_of_the_tokenizer(objective):
    e, x = small(), torch.rand(4, 3, 32, 32)
    teacher = Features(torch.rand(4, WIDTHS[1]), torch.rand(4, 64, WIDTHS[0]), torch.rand(4, 64))
    expected = e.training.steps * step(objective, x, DRAWS, teacher)
    assert tokenizer.size(e).flops == pytest.approx(expected, rel=0.03)


def test_a_step_of_fine_tuning_trains_the_decoder_only(objective):
    e, x = small(), torch.rand(4, 3, 32, 32)
    for parameter in objective.tokenizer.parameters():
        parameter.requires_grad_(False)
    for parameter in objective.tokenizer.decoder_parameters():
        parameter.requires_grad_(True)
    expected = finetuning_schedule(e).steps * step(DecoderObjective(objective), x, DRAWS)
    assert finetuning.size(e).flops == pytest.approx(expected, rel=0.03)
    objective.tokenizer.requires_grad_(True)


@pytest.mark.parametrize("adaptive", [True, False])
@pytest.mark.parametrize("consistency", [0.0, 4.0])
def test_a_step_of_the_adversary(consistency, adaptive, objective):
    parts = {"on": True, "consistency": consistency, "adaptive": adaptive, "features": "efficientnet_lite0"}
    e = small(**{f"tokenizer__adversarial__{name}": value for name, value in parts.items()})
    last = nn.Parameter(torch.rand(3, 32, 32))
    network = Discriminator(LiteReadouts(lite(0)))
    opponent = Adversary(e.tokenizer.adversarial, network, e.training, Machine("cpu", "float32", 1), last)
    x = torch.rand(4, 3, 32, 32)
    weighing = []

    def run() -> None:
        reconstruction = x * last
        term, distance = opponent.term(reconstruction, DRAWS), objective.perceptual(x, reconstruction)
        weighing.append(counted_flops(lambda: opponent.balance({"perceptual": distance}, term)))
        (distance + term).backward()
        opponent.learn(x, reconstruction, DRAWS, 1)

    found = flops.adversary(e.tokenizer, 32) + flops.comparison(e.tokenizer, 32)
    assert 4 * found == pytest.approx(counted_flops(run), rel=0.03)
    fixed = with_fields(e.tokenizer, {"adversarial.adaptive": False})
    assert 4 * (flops.adversary(e.tokenizer, 32) - flops.adversary(fixed, 32)) == pytest.approx(*weighing, rel=CLOSE)


@pytest.mark.parametrize(("start", "of_training", "of_finetuning"), [(0, 40, 8), (25, 15, 8), (45, 0, 3), (50, 0, 0)])
def test_the_adversary_counts_from_its_start_on(start, of_training, of_finetuning):
    on = small(tokenizer__adversarial__on=True, tokenizer__adversarial__start_step=start)
    for stage, steps in ((tokenizer, of_training), (finetuning, of_finetuning)):
        more = stage.size(on).flops - stage.size(small()).flops
        assert more == pytest.approx(4 * steps * flops.adversary(on.tokenizer, 32), rel=1e-6)


def test_a_teacher_that_is_not_cached_looks_at_every_image():
    e = small()
    images = e.training.steps * e.training.batch_images
    online, cached = teachers.TEACHERS["dinov2_vits14"], teachers.TEACHERS[e.teacher]
    assert cached.cached and not online.cached
    heads = flops.alignment(e.tokenizer.alignment, e.latents, 384, 384) - flops.heads(e)
    more = tokenizer.size(dataclasses.replace(e, teacher="dinov2_vits14")).flops - tokenizer.size(e).flops
    assert more == pytest.approx(images * (flops.teacher("dinov2_vits14", 8) + 3 * heads))
    assert teacher_features.size(e).flops == 2 * 256 * flops.teacher(e.teacher, 8)


def test_repa_trains_a_head_and_asks_a_teacher_that_is_not_cached(meta):
    e = small(generator__repa__on=True, generator__repa__depth=1, generator__repa__hidden=96)
    images = e.generator.training.steps * e.generator.training.batch_images
    term = Repa(1, e.generator.size.width, 96, WIDTHS[0])
    features = Features(torch.empty(1, 1), torch.empty(1, 64, WIDTHS[0]), torch.empty(1, 1))
    expected = 3 * counted_flops(lambda: term(torch.empty(1, 8, e.generator.size.width), features))
    more = generator.size(e).flops - generator.size(small()).flops
    assert more == pytest.approx(images * expected, rel=CLOSE)
    asking = dataclasses.replace(e, teacher="dinov2_vits14")
    more = generator.size(asking).flops - generator.size(e).flops
    assert more == pytest.approx(images * flops.teacher("dinov2_vits14", 8), rel=CLOSE)


@pytest.mark.parametrize("guide", [UNGUIDED, Guide(2.0, 0.0, 0.7), Guide(2.0, 0.3, 0.6), Guide(2.0)])
@pytest.mark.parametrize("shift", [None, 3.0])
@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name != "dopri5"])
def test_drawing_counts_what_samplers_ask_of_the_network(sampler, shift, guide):
    seen = []

    def network(x_t: torch.Tensor, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        seen.extend([1] * len(x_t))
        return x_t

    velocity = guided(network, torch.zeros(1, dtype=torch.long), 10, guide.scale, (guide.low, guide.high))
    SAMPLERS[sampler](velocity, torch.zeros(1, 2, 2), times(10, shift or 1.0), lambda: torch.zeros(1, 2, 2))
    sampling = Sampling(images=16, curve_images=16, sampler=sampler, steps=10, time_shift=shift)
    assert flops.evaluations(sampling, guide) == len(seen)


def test_guided_samples_of_a_grid_take_its_widest_interval():
    one = guided_samples.size(experiment(guidance__scales="2", guidance__intervals="0:1"))
    grid = guided_samples.size(experiment(guidance__scales="1,2", guidance__intervals="0:0.5,0:1"))
    assert grid.flops == one.flops == 160 * 8 * flops.of_generator(experiment())
    assert grid.samples == 160


# The paper's scale


def paper(size: Transformer, steps: int) -> Experiment:
    fields = {
        **{f"generator.size.{f.name}": getattr(size, f.name) for f in dataclasses.fields(size)},
        "generator.training.steps": steps,
        "generator.training.batch_images": 256,
        "sampling.images": 50_000,
        "sampling.steps": 250,
        "sampling.sampler": "euler_maruyama",
        "guidance.scales": "2.3",
        "guidance.intervals": "0:0.7",
        "tokenizer.tokens": 128,
        "tokenizer.channels": 32,
        "tokenizer.patch_size": 16,
        "data.image_size": 256,
    }
    return with_fields(SCALES["tiny"].experiment, fields)


@pytest.mark.parametrize(
    ("size", "steps", "training", "drawing"),
    [(VIT_B, 500_000, 8, 27 / 60), (Transformer(1152, 28, 16), 4_000_000, 335, 2.3)],
)
def test_hours_on_an_h100_at_the_papers_scale(size, steps, training, drawing):
    e, pace = paper(size, steps), Pace(mfu=0.3)
    assert pace.hours(generator.size(e).flops) == pytest.approx(training, rel=0.15)
    assert pace.hours(guided_samples.size(e).flops) == pytest.approx(drawing, rel=0.15)
