"""The optimiser and its learning rate."""

from __future__ import annotations

import math

import torch
from torch import nn

from harness.experiments.experiment import Training


def adamw(training: Training, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        parameters,
        lr=training.learning_rate,
        betas=(training.beta1, training.beta2),
        weight_decay=training.weight_decay,
        fused=True,
    )


def learning_rate(training: Training, step: int) -> float:
    """Linear warm-up to the peak, then a cosine that would reach `final_ratio` of it one step past the last."""
    if step < training.warmup_steps:
        return training.learning_rate * (step + 1) / training.warmup_steps
    progress = (step - training.warmup_steps) / max(1, training.steps - training.warmup_steps)
    cosine = (1 + math.cos(math.pi * progress)) / 2
    return training.learning_rate * (training.final_ratio + (1 - training.final_ratio) * cosine)
