"""The experiment whose latents are tested, posteriors made for tests, and what a run stores."""

from __future__ import annotations

import numpy as np
import torch

from harness.store.runs import Run
from harness.system.randomness import Draws
from models.autoencoders.posterior import Posterior
from tests.conftest import experiment

DRAWS = Draws(0, "tests", 0)
L, Z = 8, 4  # of the smoke scale
IMAGES = 12
EXPERIMENT = experiment("mactok")


def posterior(images: int = 300) -> Posterior:
    """Channels of other means and spreads, places of other variances."""
    mean = DRAWS.normal("mean", images, L, Z) * torch.tensor([1.0, 0.1, 3.0, 0.5]) + torch.tensor([0.0, 5.0, -2.0, 0.3])
    return Posterior(mean, DRAWS.normal("log_variance", images, L, Z) - 1)


def whole(run: Run, split: str, parameter: str) -> np.ndarray:
    """All that is stored of a parameter, (n, views, L, Z)."""
    return np.concatenate([np.load(path) for path in sorted(run.folder.glob(f"{split}_{parameter}*.npy"))])
