"""Measures and LPIPS on random weights see what the networks of the packages that they are made of see."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import lpips as lpips_package
import numpy as np
import pytest
import timm
import torch
import torch_fidelity
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch_fidelity import feature_extractor_inceptionv3
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric

from harness.evaluation import fidelity
from harness.experiments.experiment import Evaluation
from harness.networks import frozen
from harness.networks.frozen import Outputs
from harness.networks.measures import dinov2, inception, lite2
from harness.system import plugins
from harness.system.errors import Mistake
from models.frozen.dinov2 import positions
from models.frozen.efficientnet import DEEP_STAGE, PATCH_STAGE, resized
from tests.conftest import photograph
from tests.evaluation.judges import Images
from tests.networks.random_weights import MACHINE, PX, SMALL, SMALL_WIDTH, load

pytestmark = pytest.mark.usefixtures("no_network")

NAMES = plugins.names("harness.networks.measures")


def crops(count: int, side: int, seed: int = 0) -> Tensor:
    """Crops of a photograph, uint8 (n, 3, side, side)."""
    source, rng = np.asarray(photograph()), np.random.default_rng(seed)
    corners = rng.integers(0, (source.shape[0] - side, source.shape[1] - side), (count, 2))
    pixels = np.stack([source[y : y + side, x : x + side] for y, x in corners])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()


@pytest.fixture(scope="session")
def looks(files: dict[str, Path]) -> dict[str, Callable]:
    return {name: load(name, files.get(name)) for name in [*NAMES, "lpips"]}


@pytest.fixture(scope="session")
def images() -> Tensor:
    return crops(3, PX)


@pytest.fixture(scope="session")
def seen(looks: dict[str, Callable], images: Tensor) -> dict[str, Outputs]:
    return {name: looks[name](images) for name in NAMES}


# What every measure does


def close(found: Outputs, expected: Outputs) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * theirs.abs().max().item())


@pytest.mark.parametrize("name", NAMES)
def test_a_measure_says_what_it_is_and_gives_what_it_says(name, seen):
    module = plugins.load("harness.networks.measures", name, "measure")
    assert all(text and "\n" not in text for text in (module.title, module.about, module.resizing))
    assert module.default_px is None or isinstance(module.default_px, int)
    features = SMALL_WIDTH if name == "dinov2" else module.features
    for found, width in zip(seen[name], (features, module.classes, module.spatial), strict=True):
        assert (found is None) == (width is None)
        if found is not None:
            assert (found.shape, found.dtype, found.device.type) == ((3, width), torch.float32, "cpu")
            assert found.isfinite().all()
            assert not found.requires_grad
            assert found.std(0).mean() > 1e-3 * found.abs().mean()  # it tells images from each other


def test_widths_are_those_of_the_networks_of_the_literature():
    assert (inception.features, inception.classes, inception.spatial) == (2048, 1008, 2023)
    with torch.device("meta"):
        assert timm.create_model(dinov2.TIMM_NAME, num_classes=0).num_features == dinov2.features
    assert (lite2.default_px, inception.default_px, dinov2.default_px) == (None, 299, 224)


def test_measures_are_known_without_torch():
    modules = [f"harness.networks.measures.{name}" for name in NAMES] + ["harness.networks.lpips"]
    heavy = {"torch", "timm", "torch_fidelity", "lpips", "torchvision", "safetensors"}
    code = f"import sys, {', '.join(modules)}; sys.exit(bool({heavy!r} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", NAMES)
def test_what_is_seen_of_an_image_does_not_depend_on_its_batch(name, looks, images, seen):
    close(looks[name](images[:1]), Outputs(*(None if part is None else part[:1] for part in seen[name])))


@pytest.mark.parametrize("name", NAMES)
def test_the_same_is_seen_in_training_mode_under_autocast_and_with_gradients(name, looks, images, seen):
    look = looks[name]
    parent = nn.ModuleList([look.net])
    parent.train()
    for module in parent.modules():  # whatever its own `train` does
        module.training = True
    with torch.autocast("cpu", torch.bfloat16), torch.enable_grad():
        found = look(images)
    assert all(ours is theirs or torch.equal(ours, theirs) for ours, theirs in zip(found, seen[name], strict=True))
    assert not any(module.training for module in look.net.modules())


ENDS = {  # what black and white are to the networks
    "lite2": ("net.conv_stem", (-127 / 128, 1)),
    "inception": ("Conv2d_1a_3x3", (-1, 127 / 128)),
    "dinov2": (
        "patch_embed",
        (
            torch.tensor([-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225])[:, None, None],
            torch.tensor([0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225])[:, None, None],
        ),
    ),
}


@pytest.mark.parametrize("name", NAMES)
def test_0_and_255_are_the_ends_of_what_the_network_was_trained_on(name, looks):
    layer, ends = ENDS[name]
    inputs = []
    with looks[name].net.get_submodule(layer).register_forward_pre_hook(lambda _, x: inputs.append(x[0])):
        looks[name](torch.tensor([0, 255], dtype=torch.uint8)[:, None, None, None].expand(2, 3, PX, PX))
    for x, end in zip(inputs[0], ends, strict=True):
        torch.testing.assert_close(x, torch.as_tensor(end).expand_as(x).float())


@pytest.mark.parametrize("name", [*NAMES, "lpips"])
def test_only_uint8_images_are_looked_at(name, looks, images):
    for wrong in (images.float(), images[0], images.permute(0, 2, 3, 1)):
        with pytest.raises(ValueError, match="uint8 images"):
            looks[name](*[wrong] * (1 + (name == "lpips")))


# Lite2


def test_lite2_sees_what_metrics_look_at(images, seen):
    found, expected = seen["lite2"], fidelity.outputs(images, fidelity.network(Evaluation(metrics_px=PX), MACHINE))
    assert torch.equal(found.features, expected.features)
    assert torch.equal(found.logits, expected.logits)
    net = frozen.efficientnet_lite(frozen.MEASURE, MACHINE)
    with torch.no_grad():
        x = resized(images.float() / 127.5 - 1, PX).contiguous(memory_format=torch.channels_last)
        stages = net.stages(x)
        assert torch.equal(found.features, stages[PATCH_STAGE].mean((2, 3)))
        assert torch.equal(found.logits, net.logits(stages[DEEP_STAGE]))


def test_lite2_without_logits_spares_the_deeper_stages(images, seen):
    look = lite2.load(MACHINE, PX, logits=False)
    calls = []
    with look.net.net.blocks[PATCH_STAGE + 1].register_forward_pre_hook(lambda *_: calls.append(1)):
        found = look(images)
    assert not calls
    assert found.logits is None
    assert torch.equal(found.features, seen["lite2"].features)


def test_lite2_has_weights_of_its_own_and_has_to_be_told_a_side(tmp_path):
    assert lite2.weights_file() == frozen.weights_file(frozen.MEASURE)
    with pytest.raises(Mistake, match="come with its package"):
        lite2.load(MACHINE, PX, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="must be given"):
        lite2.load(MACHINE)


# Inception


@pytest.fixture(scope="module")
def extractor(files: dict[str, Path]) -> FeatureExtractorInceptionV3:
    layers = ["2048", "logits_unbiased"]
    return FeatureExtractorInceptionV3("theirs", layers, feature_extractor_weights_path=files["inception"])


def test_inception_sees_what_torch_fidelity_does(extractor, images, seen):
    features, logits = extractor(images)
    assert torch.equal(seen["inception"].features, features)
    assert torch.equal(seen["inception"].logits, logits)


def test_metrics_on_inception_are_those_of_torch_fidelity(files, looks, images, seen):
    others, options = crops(3, PX, seed=1), {"kid_subsets": 3, "kid_subset_size": 2}
    expected = torch_fidelity.calculate_metrics(
        input1=Images(images),
        input2=Images(others),
        isc=True,
        isc_splits=1,
        kid=True,
        feature_extractor_weights_path=files["inception"],
        cuda=False,
        verbose=False,
        save_cpu_ram=True,  # no worker processes
        cache=False,
        **options,
    )
    found = isc_features_to_metric(seen["inception"].logits, splits=1)
    found |= kid_features_to_metric(
        seen["inception"].features, looks["inception"](others).features, verbose=False, **options
    )
    assert found == pytest.approx(expected, rel=1e-5)
    assert found["inception_score_mean"] > 1.02


def test_spatial_features_are_the_first_convolution_of_the_seventh_mixed_block(extractor, files, images, seen):
    mixed = [name for name, _ in extractor.named_children() if name.startswith("Mixed")]
    state = torch.load(files["inception"], weights_only=True)
    inputs = []
    with getattr(extractor, mixed[6]).register_forward_pre_hook(lambda _, x: inputs.append(x[0].clone())):
        extractor(images)
    layer = f"{mixed[6]}.branch1x1"
    normalisation = [state[f"{layer}.bn.{name}"] for name in ("running_mean", "running_var", "weight", "bias")]
    x = functional.conv2d(inputs[0], state[f"{layer}.conv.weight"])
    x = functional.batch_norm(x, *normalisation, eps=1e-3).clamp(min=0)
    in_tensorflow = np.ascontiguousarray(x.numpy().transpose(0, 2, 3, 1))  # NHWC, of which it takes [..., :7]
    assert in_tensorflow.shape[1:] == (17, 17, 192)
    expected = in_tensorflow[..., :7].reshape(len(images), -1)
    spatial = seen["inception"].spatial.numpy()
    np.testing.assert_allclose(spatial, expected, rtol=1e-4, atol=1e-4 * expected.max())
    assert spatial.min() == 0  # after the ReLU


def test_inception_is_not_downloaded_where_a_file_is_given(files, monkeypatch):
    def download(*_: object, **__: object) -> None:
        raise AssertionError("downloads")

    monkeypatch.setattr(feature_extractor_inceptionv3, "load_state_dict_from_url", download)
    inception.load(MACHINE, 299, files["inception"])
    with pytest.raises(AssertionError, match="downloads"):  # as it would without
        FeatureExtractorInceptionV3("theirs", ["2048"])


# DINOv2


def test_images_for_dinov2_are_resized_as_pillow_does():
    images = torch.cat([crops(2, 256), (crops(1, 256) > 128) * torch.tensor(255, dtype=torch.uint8)])
    for side in (224, 320):
        pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
        expected = np.stack([picture.resize((side, side), Image.Resampling.BICUBIC) for picture in pictures])
        mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
        found = dinov2.network_input(images, side).numpy().transpose(0, 2, 3, 1) * std + mean
        grey_levels = np.abs(found * 255 - expected)
        assert grey_levels.max() < 2.01  # Pillow's arithmetic is in integers
        assert grey_levels.mean() < 0.005


def test_images_of_the_right_side_reach_dinov2_as_they_are():
    images = crops(1, 224)
    pixels = images.double() / 255
    channels = zip(pixels[0], (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)
    expected = torch.stack([(channel - mean) / std for channel, mean, std in channels])
    torch.testing.assert_close(dinov2.network_input(images, 224)[0], expected.float())


def cubic(x: np.ndarray) -> np.ndarray:
    """The kernel of Keys (1981) with a = -3/4."""
    x, a = np.abs(x), -0.75
    near, far = (a + 2) * x**3 - (a + 3) * x**2 + 1, a * (x**3 - 5 * x**2 + 8 * x - 4)
    return np.where(x <= 1, near, np.where(x < 2, far, 0))


def test_positions_are_resampled_as_in_the_code_of_dinov2():
    stored_grid, grid, rng = 37, 16, np.random.default_rng(0)
    stored = torch.from_numpy(rng.normal(size=(1, 1 + stored_grid**2, 5)).astype(np.float32))
    places = (np.arange(grid) + 0.5) * stored_grid / (grid + 0.1) - 0.5
    filters = np.zeros((grid, stored_grid))
    for row, place in enumerate(places):
        for tap in range(int(np.floor(place)) - 1, int(np.floor(place)) + 3):
            filters[row, np.clip(tap, 0, stored_grid - 1)] += cubic(np.array(place - tap))
    patches = stored[0, 1:].numpy().reshape(stored_grid, stored_grid, -1)
    expected = np.einsum("yi,xj,ijd->yxd", filters, filters, patches).reshape(grid**2, -1)
    found = positions(stored, grid)[0]
    assert torch.equal(found[0], stored[0, 0])
    np.testing.assert_allclose(found[1:].numpy(), expected, atol=1e-4)
    assert positions(stored, stored_grid) is stored


@torch.no_grad()
def test_dinov2_sees_the_class_token_after_the_last_normalisation(files, images):
    look = dinov2.load(MACHINE, weights=files["dinov2"], timm_name=SMALL)
    net = look.net
    assert net.pos_embed.shape[1] == 1 + (224 // 14) ** 2
    x = net.patch_embed.proj(dinov2.network_input(images[:2], 224)).flatten(2).mT
    x = torch.cat([net.cls_token.expand(len(x), -1, -1), x], 1) + net.pos_embed
    for block in net.blocks:
        x = block(x)
    token = functional.layer_norm(x[:, 0], (SMALL_WIDTH,), net.norm.weight, net.norm.bias, eps=1e-6)
    close(look(images[:2]), Outputs(token))


def test_dinov2_takes_the_weights_of_its_own_code_too(files, images, seen, tmp_path):
    state = dinov2.WEIGHTS.read(files["dinov2"])
    torch.save(state | {"mask_token": torch.zeros(1, SMALL_WIDTH)}, tmp_path / "dinov2_vits14_pretrain.pth")
    look = load("dinov2", tmp_path / "dinov2_vits14_pretrain.pth")
    assert torch.equal(look(images).features, seen["dinov2"].features)


# LPIPS


def test_lpips_is_that_of_its_package(files, looks, images, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torchvision, about how the package calls it
        by_hand = lpips_package.LPIPS(net="vgg", pnet_rand=True, verbose=False)
    state = torch.load(files["lpips"], weights_only=True)
    with torch.no_grad():
        for name, parameter in by_hand.net.named_parameters():
            parameter.copy_(state["features." + name.partition(".")[2]])
        others = images.flip(0)
        expected = by_hand(images.float() / 255, others.float() / 255, normalize=True)
    found = looks["lpips"](images, others)
    assert (found.shape, found.dtype, found.requires_grad) == ((len(images),), torch.float32, False)
    torch.testing.assert_close(found, expected[:, 0, 0, 0], rtol=1e-4, atol=1e-6)
    assert (found > 1e-3).tolist() == [True, False, True]  # the second image has met itself
    assert capsys.readouterr() == ("", "")


def test_lpips_of_equal_images_is_0_and_that_of_others_does_not_depend_on_the_batch_or_on_training(looks, images):
    look, others = looks["lpips"], images.roll(1, 0)
    assert torch.equal(look(images, images), torch.zeros(len(images)))
    expected = look(images, others)
    nn.ModuleList([look.net]).train()
    assert torch.equal(look(images, others), expected)
    torch.testing.assert_close(look(images[:1], others[:1]), expected[:1], rtol=1e-4, atol=1e-6)
