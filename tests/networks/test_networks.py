"""Frozen networks from files of weights: where these are looked for, what is made of them, and what is missing."""

from __future__ import annotations

import dataclasses
import shutil
import socket
import warnings
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import lpips as lpips_package
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from harness.experiments.experiment import Experiment
from harness.networks import frozen, lpips, teachers
from harness.networks.roles import ENCODERS, Roles
from harness.networks.weight_files import DINO, DINOV2, IN_HUB, VGG, WeightsFile
from harness.system.errors import Mistake
from harness.system.machine import Machine
from models.autoencoders.vit_1d import ViT1D
from models.config import Perceptual, Transformer
from models.frozen.dinov2 import normalised, positions
from models.frozen.efficientnet import PerceptualDistance
from models.frozen.lpips import Lpips
from tests.conftest import experiment, images
from tests.networks.random_weights import vgg_file

MACHINE = Machine("cpu", "float32", 1)
OF_HUB = {**DINOV2, "dino_vits16": DINO}
PATCHES = 4


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of random weights that stand in for the published ones."""
    folder = tmp_path_factory.mktemp("published")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for name, timm_name in (
            ("dinov2_vits14", "vit_small_patch14_dinov2"),
            ("dino_vits16", "vit_small_patch16_224"),
        ):
            net = timm.create_model(timm_name, pretrained=False, num_classes=0)
            nn.init.normal_(net.pos_embed)
            save_file(net.state_dict(), folder / f"{name}.safetensors")
        vgg_file(folder)
    return folder


@pytest.fixture(autouse=True)
def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file of weights is found, and nobody is asked for one."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("asks the network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv("TOKENIZER_WEIGHTS", str(tmp_path / "none"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def weights(published: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That folder, where weights are looked for."""
    monkeypatch.setenv("TOKENIZER_WEIGHTS", str(published))
    return published


def in_hub_cache(tmp_path: Path, repository: str) -> Path:
    """An empty file where the client of the hub puts what it downloads."""
    place = tmp_path / "hub" / f"models--{repository.replace('/', '--')}"
    path = place / "snapshots" / "1234" / IN_HUB
    path.parent.mkdir(parents=True)
    path.touch()
    (place / "refs").mkdir()
    (place / "refs/main").write_text("1234")
    return path


def line(call: Callable[[], object]) -> str:
    with pytest.raises(Mistake) as mistake:
        call()
    assert "\n" not in str(mistake.value)
    return str(mistake.value)


# Files


@pytest.mark.parametrize("name", OF_HUB)
def test_weights_are_looked_for_in_the_folder_and_then_in_the_cache_of_the_hub(name, tmp_path, monkeypatch):
    file = OF_HUB[name]
    told = line(file.find)
    for part in (file.of, *file.names, str(tmp_path / "none"), str(tmp_path / "hub"), file.upstream):
        assert part in told
    assert f"`hf download {file.hub} model.safetensors`" in told
    assert file.names[0] == f"{name}.safetensors"
    assert "FILE" not in told  # no command takes it

    cached = in_hub_cache(tmp_path, file.hub)
    assert file.find() == cached
    (tmp_path / "none").mkdir()
    for own in reversed(file.names):
        (tmp_path / "none" / own).touch()
        assert file.find() == tmp_path / "none" / own
    assert file.find(tmp_path / "none" / file.names[1]) == tmp_path / "none" / file.names[1]


@pytest.mark.parametrize("name", OF_HUB)
def test_names_are_those_that_timm_knows_the_published_files_by(name):
    published = timm.get_pretrained_cfg(f"{frozen.VITS[name]}.{OF_HUB[name].hub.rpartition('.')[2]}")
    assert OF_HUB[name].hub == f"timm/{published.architecture}.{published.tag}"
    assert OF_HUB[name].names[2] == published.url.rpartition("/")[2]


def test_the_line_of_missing_lpips_names_how_torchvision_fetches_it(tmp_path):
    told = line(lpips.weights_file)
    assert "vgg16(weights='IMAGENET1K_V1')" in told
    assert str(tmp_path / "torch/hub/checkpoints") in told
    assert "hf download" not in told


def test_a_file_that_no_command_fetches_is_told_without_one(tmp_path):
    told = line(WeightsFile("a network", ("a.pth",), "the author's a.pth").find)
    assert told == (
        f"the weights of a network are missing: no a.pth in folder {tmp_path / 'none'}. The file is the author's "
        "a.pth: put it into that folder under that name (TOKENIZER_WEIGHTS sets another folder)"
    )


# Teachers


def test_teachers_are_named_where_one_is_unknown():
    assert "Did you mean 'dinov2_vits14'" in line(lambda: teachers.teacher("dinov2_vit_s14"))
    assert teachers.teacher("efficientnet_lite0").cached
    assert not any(teachers.teacher(name).cached for name in DINOV2)


@pytest.mark.parametrize("name", DINOV2)
def test_a_teacher_says_what_its_network_is(name):
    known = teachers.teacher(name)
    with torch.device("meta"):
        net = timm.create_model(frozen.VITS[name])
    assert known.patch_width == known.class_width == net.num_features
    size = Transformer(net.num_features, len(net.blocks), net.blocks[0].attn.num_heads)
    assert ENCODERS[size] == name
    assert net.patch_embed.patch_size == (14, 14)
    assert DINOV2[name].of in known.about
    assert DINOV2[name].of in line(lambda: known.load(PATCHES, MACHINE))
    assert DINOV2[name].of in line(known.weights)


@torch.no_grad()
def test_the_teacher_is_the_network_of_the_file_at_14_px_a_patch(weights):
    known = teachers.teacher("dinov2_vits14")
    teacher = known.load(PATCHES, MACHINE)
    assert known.weights() == weights / "dinov2_vits14.safetensors"
    x = images(2, 14 * PATCHES)
    net = timm.create_model("vit_small_patch14_dinov2", num_classes=0, img_size=14 * PATCHES)
    state = DINOV2["dinov2_vits14"].read(known.weights())
    net.load_state_dict(state | {"pos_embed": positions(state["pos_embed"], PATCHES)})
    h = net.eval().forward_features(normalised((x + 1) / 2))
    c, p, s = teacher(x)
    torch.testing.assert_close(torch.cat([c[:, None], p], 1), h, atol=1e-4, rtol=1e-4)
    assert (c.shape, p.shape, s.shape) == ((2, 384), (2, PATCHES**2, 384), (2, PATCHES**2))


def test_loading_draws_no_numbers(weights):
    before = torch.get_rng_state()
    teachers.teacher("dinov2_vits14").load(PATCHES, MACHINE)
    assert torch.equal(torch.get_rng_state(), before)


def test_weights_of_another_network_are_a_mistake(weights, tmp_path, monkeypatch):
    shutil.copy(weights / "dino_vits16.safetensors", tmp_path / "dinov2_vits14.safetensors")
    monkeypatch.setenv("TOKENIZER_WEIGHTS", str(tmp_path))
    told = line(lambda: teachers.teacher("dinov2_vits14").load(PATCHES, MACHINE))
    assert told.startswith(f"{tmp_path}/dinov2_vits14.safetensors is not model.safetensors of timm/vit_small")


# Encoders


def of_vit_s(**fields: object) -> Experiment:
    size = {f"tokenizer__encoder__{name}": value for name, value in (("width", 384), ("depth", 12), ("heads", 6))}
    return experiment(tokenizer__dinov2_encoder=True, **size, **fields)


def test_an_encoder_starts_from_the_file_of_its_size(weights):
    network = ViT1D(of_vit_s().tokenizer, 32)
    Roles(of_vit_s()).initialise_encoder(network)
    state = DINOV2["dinov2_vits14"].read(weights / "dinov2_vits14.safetensors")
    assert torch.equal(network.encoder[11].qkv.weight, state["blocks.11.attn.qkv.weight"])
    assert torch.equal(network.encoder[12].bias, state["norm.bias"])
    assert torch.equal(network.image_positions, positions(state["pos_embed"], 8)[:, 1:])


def test_an_encoder_of_a_size_that_no_dinov2_has_is_refused_with_the_sizes():
    small = experiment(tokenizer__dinov2_encoder=True)
    network = ViT1D(small.tokenizer, 32)
    told = line(lambda: Roles(small).initialise_encoder(network))
    for part in ("tokenizer.dinov2_encoder", "32/1/2", "384/12/6", "768/12/12", "1024/24/16"):
        assert part in told
    assert "DINOv2 ViT-S/14 are missing" in line(lambda: Roles(of_vit_s()).initialise_encoder(network))


# LPIPS


@pytest.fixture(scope="module")
def distance(published: Path) -> Lpips:
    return Lpips(lpips.network(published / VGG.names[-1]))


@pytest.fixture(scope="module")
def package(published: Path) -> lpips_package.LPIPS:
    """The package's network, with the trunk put in by hand."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torchvision, about how the package calls it
        net = lpips_package.LPIPS(net="vgg", version="0.1", pnet_rand=True, verbose=False)
    state = torch.load(published / VGG.names[-1], weights_only=True)
    with torch.no_grad():
        for name, parameter in net.net.named_parameters():
            parameter.copy_(state["features." + name.partition(".")[2]])
    return net


def with_perceptual(**fields: object) -> Roles:
    tokenizer = dataclasses.replace(experiment().tokenizer, perceptual=Perceptual(**fields))
    return Roles(dataclasses.replace(experiment(), tokenizer=tokenizer))


def pair(count: int = 2) -> tuple[Tensor, Tensor]:
    x = images(count)
    return x, (0.5 * x.flip(-1)).requires_grad_()


def test_lpips_as_a_loss_is_that_of_its_package_and_so_is_its_gradient(distance, package):
    x, reconstruction = pair()
    expected = package(x, reconstruction).mean()
    (gradient,) = torch.autograd.grad(expected, reconstruction)
    found = distance(x, reconstruction)
    found.backward()
    assert found.shape == ()
    assert found.item() == pytest.approx(expected.item(), abs=1e-6)
    assert found > 1e-3
    torch.testing.assert_close(reconstruction.grad, gradient, atol=1e-3 * gradient.abs().max().item(), rtol=1e-3)


def test_lpips_stays_in_evaluation_mode_and_learns_nothing(distance):
    x, reconstruction = pair()
    before = distance(x, reconstruction)
    nn.ModuleList([distance]).train()
    assert not any(module.training for module in distance.modules())
    for module in distance.modules():  # whatever its own `train` does
        module.training = True
    assert distance(x, reconstruction).item() == before.item()
    before.backward()
    assert not any(p.requires_grad for p in distance.parameters())
    x.requires_grad_()
    distance(x, reconstruction).backward()
    assert x.grad is None


def test_lpips_of_a_share_of_the_batch(distance):
    x, reconstruction = pair(4)
    half, least = (Lpips(distance.net, share) for share in (0.5, 0.01))
    assert half(x, reconstruction).item() == pytest.approx(distance(x[:2], reconstruction[:2]).item(), abs=1e-7)
    assert least(x, reconstruction).item() == pytest.approx(distance(x[:1], reconstruction[:1]).item(), abs=1e-7)


def test_lpips_under_autocast_is_close_and_float32(distance):
    x, reconstruction = pair()
    with torch.autocast("cpu", torch.bfloat16):
        rough = distance(x, reconstruction)
    assert rough.dtype == torch.float32
    assert rough.item() == pytest.approx(distance(x, reconstruction).item(), rel=0.05)


def test_perceptual_distances_are_those_that_are_asked_for(published, monkeypatch):
    wanted = with_perceptual(on=True, lpips=True, batch_share=0.5)
    assert "LPIPS" in line(lambda: wanted.perceptual(MACHINE))
    monkeypatch.setenv("TOKENIZER_WEIGHTS", str(published))
    found = wanted.perceptual(MACHINE)
    assert (type(found), found.batch_share) == (Lpips, 0.5)
    assert isinstance(with_perceptual(on=True).perceptual(MACHINE), PerceptualDistance)
    assert with_perceptual(lpips=True).perceptual(MACHINE) is None


# Discriminators


def reading(features: str) -> Roles:
    return Roles(experiment(tokenizer__adversarial__features=features))


def test_a_discriminator_reads_the_network_that_is_named(weights):
    from models.objectives.discriminator import DinoReadouts, LiteReadouts

    dino = reading("dino_vits16").discriminator_features(MACHINE)
    assert isinstance(dino, DinoReadouts)
    held, stored = dino.net.state_dict(), DINO.read(weights / "dino_vits16.safetensors")
    assert set(held) == set(stored)
    assert all(torch.equal(held[name], stored[name]) for name in stored)
    assert [level.shape for level in dino(images(1))] == [(1, 384, 14 * 14)] * 5
    assert isinstance(reading("efficientnet_lite0").discriminator_features(MACHINE), LiteReadouts)


def test_missing_weights_of_dino_are_a_mistake():
    assert "DINO ViT-S/16" in line(lambda: reading("dino_vits16").discriminator_features(MACHINE))


# What an experiment needs

NEEDS = {
    "teacher": ({"teacher": "dinov2_vitl14"}, "DINOv2 ViT-L/14"),
    "encoder": ({"tokenizer__dinov2_encoder": True}, "no DINOv2 has width/depth/heads 32/1/2"),
    "LPIPS": ({"tokenizer__perceptual__lpips": True}, "LPIPS"),
    "discriminator": ({"tokenizer__adversarial__on": True, "tokenizer__adversarial__features": "dino_vits16"}, "DINO "),
    "measure": ({"evaluation__measure": "inception"}, "Inception-v3"),
    "another measure": ({"evaluation__measure": "dinov2"}, "DINOv2 ViT-L/14"),
}


@pytest.mark.parametrize("name", NEEDS)
def test_what_is_missing_of_an_experiment_is_told(name):
    fields, words = NEEDS[name]
    assert words in line(lambda: Roles(experiment(**fields)).require())


def test_parts_that_are_off_need_no_weights():
    Roles(experiment()).require()
    Roles(experiment(tokenizer__perceptual__on=False, tokenizer__perceptual__lpips=True)).require()
    Roles(experiment(tokenizer__adversarial__features="dino_vits16")).require()


def test_an_experiment_is_let_through_with_the_weights_that_it_needs(weights):
    Roles(of_vit_s(teacher="dinov2_vits14", tokenizer__perceptual__lpips=True)).require()
    Roles(of_vit_s(tokenizer__adversarial__on=True, tokenizer__adversarial__features="dino_vits16")).require()


def test_missing_weights_of_an_encoder_are_told():
    assert "DINOv2 ViT-S/14" in line(lambda: Roles(of_vit_s()).require())
