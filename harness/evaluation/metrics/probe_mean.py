"""Linear probe on the latents averaged over tokens: how well the class can be predicted without positions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.evaluation import probes
from harness.evaluation.reconstructed import Reconstructed
from harness.evaluation.records import Value

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

title = "mean probe"
about = "accuracy of a linear classifier on the mean over tokens of the latents"
unit = "%"
better = "higher"
digits = 1
bounds = (0.0, 100.0)
splits = ("val",)


def measure(m: Reconstructed) -> Value | None:
    return probes.accuracy(m, probes.fit, averaged)


def averaged(latents: Tensor) -> np.ndarray:
    """Latents (n, L, Z) as features (n, Z)."""
    return latents.mean(1).numpy()


def protocol(m: Reconstructed) -> str:
    return f"{probes.CLASSIFIER}, {probes.features(m, 'averaged over the L tokens')}"
