"""The exponential moving average (EMA) of the weights of a model in training."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

Model = TypeVar("Model", bound=nn.Module)


def copy_of(model: Model) -> Model:
    """A copy in evaluation mode whose parameters require no gradients: the average before the first step."""
    return copy.deepcopy(model).requires_grad_(False).eval()


@torch.no_grad()
def update(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Moves every parameter of `average` towards that of `model`: decay * average + (1 - decay) * model."""
    torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - decay)
