"""Inception-v3 of TensorFlow's graph of 2015-12-05, which defines FID, sFID, KID and IS of the literature.

The network, its resizing and its weights are torch-fidelity's port, which reproduces TensorFlow's FID to 0.002.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.networks.frozen import Frozen, Outputs
from harness.networks.weight_files import INCEPTION
from harness.system.errors import Mistake
from harness.system.machine import Machine

if TYPE_CHECKING:
    from torch import Tensor

SPATIAL_CHANNELS, GRID = 7, 17  # so that sFID has about as many features as FID

title = INCEPTION.of
short = "Inception"
about = "the network of FID, sFID, KID and IS in the literature"
default_px = 299
resizing = "bilinear as in TensorFlow 1, not antialiased"
features = 2048  # pool_3
spatial = SPATIAL_CHANNELS * GRID * GRID
classes = 1008  # including TensorFlow's unused classes, as in IS
frechet_digits = 2
kernel_digits = 5


WEIGHTS = INCEPTION


def weights_file(given: Path | None = None) -> Path:
    """`given`, else torch-fidelity's file in the folder of weights."""
    return WEIGHTS.find(given)


def load(
    machine: Machine, side: int | None = None, weights: Path | None = None, logits: bool = True
) -> Callable[[Tensor], Outputs]:
    """Features of pool_3, logits without bias (as IS defines them) and sFID's features, in one pass."""
    if side not in (None, default_px):
        raise Mistake(f"{title} needs a side of {default_px} px, not {side} px")
    net = _network(weights_file(weights)).to(machine.device)
    captured: list[Tensor] = []
    # sFID's features are the first channels of the tensor "mixed_6/conv:0" of TensorFlow's graph (Nash et al. 2021; the
    # evaluator of ADM). The graph counts its mixed blocks from "mixed" (0) to "mixed_10". "mixed_3" and "mixed_8" halve
    # the grid, so "mixed_6" is the third of the four blocks with a 17 x 17 grid: Mixed_6d. torch-fidelity's table for
    # converting the weights agrees ("mixed_6/conv/conv2d_params" is Mixed_6d.branch1x1.conv). "conv" without a suffix
    # is the last node of a layer, after its batch normalisation: the output of the ReLU.
    net.Mixed_6d.branch1x1.register_forward_hook(
        lambda layer, inputs, output: captured.append(output[:, :SPATIAL_CHANNELS])
    )

    def forward(images: Tensor) -> Outputs:
        pooled, logits = net(images)
        spatial = captured.pop().permute(0, 2, 3, 1).flatten(1)  # grid first, channels last, as TensorFlow stores them
        return Outputs(pooled.cpu(), logits.cpu(), spatial.cpu())

    return Frozen(net, machine, forward)


def _network(path: Path) -> Any:
    import torch
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    # The extractor would run code in a file. It gets only the tensors, in a file in memory; with a file it downloads
    # nothing.
    tensors = io.BytesIO()
    torch.save(WEIGHTS.read(path), tensors)
    tensors.seek(0)
    with WEIGHTS.fitting(path):
        return FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048", "logits_unbiased"], feature_extractor_weights_path=tensors
        )
