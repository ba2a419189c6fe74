"""The objective of generators: flow matching, by default on the linear path (Lipman et al. 2023)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.config import Alignment
from models.flows.paths import Flow
from models.objectives.alignment import AlignmentLoss, Features
from models.objectives.loss_terms import Loss
from models.objectives.masking import Draws

LINEAR = Flow()
Network = Callable[[Tensor, Tensor, Tensor], Tensor]  # v of (x_t, t, y)
Velocity = Callable[[Tensor, float | Tensor], Tensor]  # v of (x_t, t), for fixed classes; t is one, or (B,)


def loss(network: Network, x_0: Tensor, y: Tensor, draws: Draws, flow: Flow = LINEAR) -> Tensor:
    """Mean squared error of the velocity at t ~ U[0, 1), whatever the network predicts."""
    eps, t = draws.normal("noise", *x_0.shape), between(draws.uniform("time", len(x_0)), flow.ends(training=False))
    x_t = flow.x_at(x_0, eps, t)
    v = flow.velocity(network(x_t, t, y), x_t, t[:, None, None])
    return (v - flow.velocity_at(x_0, eps, t)).square().mean()


def between(t: Tensor, ends: tuple[float, float]) -> Tensor:
    """Times in [0, 1], mapped to those between two ends."""
    low, high = ends
    return t if ends == (0.0, 1.0) else low + t * (high - low)


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

    `flow` has the path and what the network predicts. Times t ~ U[0, 1) or, with `logit_normal`, the logistic of
    N(0, 1), which favours the middle (Esser et al. 2024).
    Terms, before their weights: the name of what is predicted (`velocity`),
    the squared error as a mean over tokens and channels; if enabled,
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
        flow: Flow = LINEAR,
    ):
        super().__init__()
        self.network, self.label_dropout, self.classes = network, label_dropout, classes
        self.logit_normal, self.direction, self.repa, self.flow = logit_normal, direction, repa, flow

    def forward(self, x_0: Tensor, y: Tensor, draws: Draws, teacher: Features | None = None) -> Loss:
        """The terms for latents x_0 (B, L, Z) of classes y (B,); `repa` needs the teacher's features."""
        y = dropped(y, self.label_dropout, self.classes, draws)
        eps, t = draws.normal("noise", *x_0.shape), self.times(len(x_0), draws)
        x_t = self.flow.x_at(x_0, eps, t)
        if self.repa:
            predicted, hidden = self.network.read(x_t, t, y, self.repa.depth)  # type: ignore[operator]
        else:
            predicted = self.network(x_t, t, y)
        terms = {self.flow.target: self.flow.error(predicted, x_0, eps, t).square().mean()}
        if self.direction:
            v, target = self.flow.velocity(predicted, x_t, t[:, None, None]), self.flow.velocity_at(x_0, eps, t)
            terms["direction"] = 1 - functional.cosine_similarity(v, target, dim=-1).mean()
        if self.repa:
            assert teacher is not None, "REPA needs a teacher"
            terms["repa"] = self.repa(hidden, teacher)
        return Loss(terms)

    def times(self, batch: int, draws: Draws) -> Tensor:
        """Random times t (B,)."""
        t = draws.normal("time", batch).sigmoid() if self.logit_normal else draws.uniform("time", batch)
        return between(t, self.flow.ends(training=True))


class OwnObjective(nn.Module):
    """The objective of a generator with a law of its own; it gets the class with probability 1 - `label_dropout`."""

    def __init__(self, network: nn.Module, label_dropout: float, classes: int):
        super().__init__()
        self.network, self.label_dropout, self.classes = network, label_dropout, classes

    def forward(self, x_0: Tensor, y: Tensor, draws: Draws, teacher: Features | None = None) -> Loss:
        """The terms for latents x_0 (B, L, Z) of classes y (B,)."""
        terms: Loss = self.network.loss(x_0, dropped(y, self.label_dropout, self.classes, draws), draws)  # type: ignore[operator]
        return terms
