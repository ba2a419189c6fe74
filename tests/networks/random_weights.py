"""Files of random weights for measures and LPIPS, and how tests load them."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file
from torch import nn
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torchvision.models import vgg

from harness.networks import lpips
from harness.networks.weight_files import INCEPTION, VGG
from harness.system import plugins
from harness.system.machine import Machine

MACHINE = Machine("cpu", "float32", 1)
PX = 64  # of Lite2
SMALL, SMALL_WIDTH, SMALL_PX = "vit_small_patch14_dinov2", 384, 56  # in place of ViT-L


def drawn(net: nn.Module) -> nn.Module:
    """Weights that keep the scale of what passes through, so that every layer shows in the output."""
    for layer in net.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.8, 1.2)
            nn.init.normal_(layer.bias, std=0.1)
            nn.init.normal_(layer.running_mean, std=0.1)
            nn.init.uniform_(layer.running_var, 0.8, 1.2)
    return net.eval()


class Bare(FeatureExtractorInceptionV3):
    """Its architecture, whatever the file of weights holds."""

    def __init__(self) -> None:
        empty = io.BytesIO()
        torch.save({}, empty)
        empty.seek(0)
        super().__init__("bare", ["2048"], feature_extractor_weights_path=empty)

    def load_state_dict(self, *_: object) -> None:
        pass


def inception_file(folder: Path) -> Path:
    """Like torch-fidelity's: no counters of batch normalisation."""
    state = drawn(Bare()).state_dict()
    state["fc.weight"] *= 3  # the score is furthest from 1 then
    torch.save({key: x for key, x in state.items() if "num_batches" not in key}, folder / INCEPTION.names[-1])
    return folder / INCEPTION.names[-1]


def dinov2_file(folder: Path) -> Path:
    net = timm.create_model(SMALL, pretrained=False, num_classes=0)
    for name, parameter in net.named_parameters():
        if name.endswith("gamma"):  # 1e-5 would hide all blocks
            nn.init.constant_(parameter, 0.5)
    nn.init.normal_(net.pos_embed, std=0.5)
    save_file(net.state_dict(), folder / "dinov2_vitl14.safetensors")
    return folder / "dinov2_vitl14.safetensors"


def vgg_file(folder: Path) -> Path:
    """Like torchvision's, with a part of the classifier, which LPIPS leaves alone."""
    trunk = drawn(vgg.make_layers(vgg.cfgs["D"]))
    state = {f"features.{key}": x for key, x in trunk.state_dict().items()}
    torch.save(state | {"classifier.6.bias": torch.zeros(1000)}, folder / VGG.names[-1])
    return folder / VGG.names[-1]


def load(name: str, weights: Path | None) -> Callable:
    """A measure or LPIPS, as these tests look through it."""
    if name == "lpips":
        return lpips.load(MACHINE, weights)
    module = plugins.load("harness.networks.measures", name, "measure")
    options = {
        "lite2": {"side": PX},
        "dinov2": {"side": SMALL_PX, "timm_name": SMALL},
    }
    return module.load(MACHINE, weights=weights, **options.get(name, {}))
