"""Files of random weights under the names of the true files, for rehearsals."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from harness.experiments.experiment import Experiment
from harness.networks.weight_files import DINO, DINOV2, FOLDER_VARIABLE, INCEPTION, VGG

if TYPE_CHECKING:
    from torch import Tensor


@contextlib.contextmanager
def written(experiments: list[Experiment], folder: Path) -> Iterator[None]:
    """A context in which `experiments` read random weights from `folder` in place of their files of weights."""
    import torch
    from safetensors.torch import save_file

    from harness.networks import frozen
    from harness.system.randomness import seeded

    folder.mkdir(parents=True)
    with seeded("random weights"):
        for name in sorted({name for experiment in experiments for name in _vits(experiment)}):
            save_file(_vit(frozen.VITS[name]), folder / _file(name))
        if any(e.tokenizer.perceptual.on and e.tokenizer.perceptual.lpips for e in experiments):
            torch.save(_vgg(), folder / VGG.names[-1])
        if any(e.evaluation.network == "inception" for e in experiments):
            torch.save(_inception(), folder / INCEPTION.names[-1])
    before = os.environ.get(FOLDER_VARIABLE)
    os.environ[FOLDER_VARIABLE] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ[FOLDER_VARIABLE]
        else:
            os.environ[FOLDER_VARIABLE] = before


def _vits(experiment: Experiment) -> Iterator[str]:
    """The names of the ViTs that `experiment` reads."""
    from harness.networks.roles import ENCODERS

    tokenizer = experiment.tokenizer
    if experiment.teacher in DINOV2:
        yield experiment.teacher
    if tokenizer.dinov2_encoder and tokenizer.encoder in ENCODERS:
        yield ENCODERS[tokenizer.encoder]
    if tokenizer.adversarial.on and tokenizer.adversarial.features == "dino_vits16":
        yield "dino_vits16"
    if experiment.evaluation.network == "dinov2":
        yield "dinov2_vitl14"


def _file(name: str) -> str:
    return (DINO if name == "dino_vits16" else DINOV2[name]).names[0]


def _vit(timm_name: str) -> dict[str, Tensor]:
    import timm

    state: dict[str, Tensor] = timm.create_model(timm_name, pretrained=False, num_classes=0).state_dict()
    # DINOv2's residual gains start at 1e-5: every block would be almost the identity.
    return {name: tensor + 0.5 if name.endswith("gamma") else tensor for name, tensor in state.items()}


def _vgg() -> dict[str, Tensor]:
    from torchvision.models import vgg

    return {f"features.{name}": tensor for name, tensor in vgg.make_layers(vgg.cfgs["D"]).state_dict().items()}


def _inception() -> dict[str, Tensor]:
    import torch
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Bare(FeatureExtractorInceptionV3):
        """The architecture with its random weights: the file only prevents a download and is not loaded."""

        def load_state_dict(self, *_: object) -> None:
            pass

    empty = io.BytesIO()
    torch.save({}, empty)
    empty.seek(0)
    state = Bare("bare", ["2048"], feature_extractor_weights_path=empty).state_dict()
    return {name: tensor for name, tensor in state.items() if "num_batches" not in name}
