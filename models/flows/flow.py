"""Flow matching on the linear path: x_t = (1 - t) x_0 + t eps, velocity v = eps - x_0 (Lipman et al. 2023)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.config import Alignment
from models.objectives.alignment import AlignmentLoss, Features
from models.objectives.loss_terms import Loss
from models.objectives.masking import Draws

Network = Callable[[Tensor, Tensor, Tensor], Tensor]  # v of (x_t, t, y)
Velocity = Callable[[Tensor, float], Tensor]  # v of (x_t, t), for fixed classes


def x_at(x_0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
    """x_t of latents x_0 and noise eps (B, L, Z) at times t (B,)."""
    t = t[:, None, None]
    return (1 - t) * x_0 + t * eps


def score(x_t: Tensor, v: Tensor, t: float) -> Tensor:
    """The gradient of log p_t at x_t, for t > 0, from the velocity v at x_t: -E[eps | x_t] / t."""
    return -(x_t + (1 - t) * v) / t


def loss(network: Network, x_0: Tensor, y: Tensor, draws: Draws) -> Tensor:
    """Mean squared error of the velocity at t ~ U[0, 1)."""
    eps, t = draws.normal("noise", *x_0.shape), draws.uniform("time", len(x_0))
    return (network(x_at(x_0, eps, t), t, y) - (eps - x_0)).square().mean()


def dropped(y: Tensor, share: float, classes: int, draws: Draws) -> Tensor:
    """Classes y (B,), replaced by `classes`, which means no class, with probability `share`."""
    return torch.where(draws.uniform("label dropout", len(y)) < share, classes, y)


class Repa(nn.Module):
    """REPA (Yu et al. 2025): aligns the hidden tokens after block `depth` of a network of width D with the teacher.

    1D tokens have no grid that matches the N patches. So each token is aligned with N / L consecutive patches, like the
    latent tokens in MacTok Eq. 3-4: the term, in [-1, 1], is the local term of `AlignmentLoss` on hidden tokens.
    """

    def __init__(self, depth: int, width: int, hidden: int, patch_width: int):
        super().__init__()
        self.depth = depth
        self.alignment = AlignmentLoss(Alignment(local_term=True, hidden=hidden), width, patch_width, class_width=0)

    def forward(self, h: Tensor, teacher: Features) -> Tensor:
        """Minus the mean cosine of projected hidden tokens h (B, L, D) and the teacher's patch tokens."""
        term: Tensor = self.alignment(h, teacher)
        return term


class VelocityObjective(nn.Module):
    """The objective of a generator; its network gets the class with probability 1 - `label_dropout`.

    Times t ~ U[0, 1) or, with `logit_normal`, the logistic of N(0, 1), which favours the middle (Esser et al. 2024).
    Terms, before their weights: `velocity`, the squared error as a mean over tokens and channels; if enabled,
    `direction`, 1 - cos(v, target) over the channels of a token, mean over tokens (Yao et al. 2025), and `repa`.
    """

    def __init__(
        self,
        network: nn.Module,
        label_dropout: float,
        classes: int,
        logit_normal: bool = False,
        direction: bool = False,
        repa: Repa | None = None,
    ):
        super().__init__()
        self.network, self.label_dropout, self.classes = network, label_dropout, classes
        self.logit_normal, self.direction, self.repa = logit_normal, direction, repa

    def forward(self, x_0: Tensor, y: Tensor, draws: Draws, teacher: Features | None = None) -> Loss:
        """The terms for latents x_0 (B, L, Z) of classes y (B,); `repa` needs the teacher's features."""
        y = dropped(y, self.label_dropout, self.classes, draws)
        eps, t = draws.normal("noise", *x_0.shape), self.times(len(x_0), draws)
        v, hidden = self.network.read(x_at(x_0, eps, t), t, y, self.repa.depth if self.repa else 0)  # type: ignore[operator]
        target = eps - x_0
        terms = {"velocity": (v - target).square().mean()}
        if self.direction:
            terms["direction"] = 1 - functional.cosine_similarity(v, target, dim=-1).mean()
        if self.repa:
            assert teacher is not None, "REPA needs a teacher"
            terms["repa"] = self.repa(hidden, teacher)
        return Loss(terms)

    def times(self, batch: int, draws: Draws) -> Tensor:
        """Random times t (B,)."""
        return draws.normal("time", batch).sigmoid() if self.logit_normal else draws.uniform("time", batch)
