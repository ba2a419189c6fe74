"""MAR: masked autoregression over continuous tokens, each drawn by a small head (Li et al. 2024)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.config import Transformer
from models.forms import Latents
from models.generators import FREQUENCIES, HEAD_NOISES, class_tokens, head_size, rounds
from models.layers.adaptive_transformer import positions_of
from models.layers.transformer import Blocks, sinusoids
from models.objectives.loss_terms import Loss
from models.objectives.masking import Draws, truncated_normal

MEAN, DEVIATION, LEAST = 1.0, 0.25, 0.7  # of the share that is hidden in training


class HeadBlock(nn.Module):
    """A residual block of the head: norm, shift and scale by the condition, two layers, gate."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.layers = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.modulation = nn.Linear(width, 3 * width)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        shift, scale, gate = self.modulation(condition).chunk(3, dim=-1)
        h: Tensor = self.layers(self.norm(x) * (1 + scale) + shift)
        return x + gate * h


class Head(nn.Module):
    """The velocity of a token z_t (..., Z) at times t (...), for what the transformer says of it (..., D)."""

    def __init__(self, size: Transformer, channels: int):
        super().__init__()
        width, number = head_size(size)
        self.embed, self.condition = nn.Linear(channels, width), nn.Linear(size.width, width)
        self.time = nn.Sequential(nn.Linear(FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(HeadBlock(width) for _ in range(number))
        self.norm, self.modulation = nn.LayerNorm(width, elementwise_affine=False), nn.Linear(width, 2 * width)
        self.to_velocity = nn.Linear(width, channels)
        for name, parameter in self.named_parameters():
            if "modulation" in name or "to_velocity" in name:  # every block starts as the identity
                nn.init.zeros_(parameter)

    def forward(self, z_t: Tensor, t: Tensor, of_token: Tensor) -> Tensor:
        times = sinusoids(t.flatten(), FREQUENCIES).view(*t.shape, -1)
        condition = functional.silu(self.condition(of_token) + self.time(times))
        h = self.embed(z_t)
        for block in self.blocks:
            h = block(h, condition)
        shift, scale = self.modulation(condition).chunk(2, dim=-1)
        velocity: Tensor = self.to_velocity(self.norm(h) * (1 + scale) + shift)
        return velocity.float()


class Network(nn.Module):
    """An encoder of the tokens that are known, a decoder of all, and a head for every token that is not.

    The head is a flow on the linear path, as the other generators are, where the published one is a diffusion of 1000
    steps with learned variances: one law of noise for all rows. Dropout is left out. Class tokens, a quarter as many as
    latents, come first. B has 208 million parameters.
    """

    positions: Tensor

    def __init__(self, size: Transformer, latents: Latents, classes: int):
        super().__init__()
        self.classes, self.length, self.shape = classes, latents.tokens, (latents.tokens, latents.channels)
        self.buffer = class_tokens(latents)
        self.register_buffer("positions", positions_of(latents, size.width), persistent=False)
        self.embed, self.label = nn.Linear(latents.channels, size.width), nn.Embedding(classes + 1, size.width)
        self.class_positions = nn.Parameter(0.02 * torch.randn(1, self.buffer, size.width))
        self.mask_token = nn.Parameter(0.02 * torch.randn(1, 1, size.width))
        self.encoder, self.decoder = Blocks(size), Blocks(size)
        self.head = Head(size, latents.channels)
        nn.init.normal_(self.label.weight, std=0.02)

    def forward(self, x_0: Tensor, y: Tensor, hidden: Tensor) -> Tensor:
        """What is known (B, L, D) of every token, from those of x_0 (B, L, Z) that are not `hidden` (B, L)."""
        first = self.label(y)[:, None] + self.class_positions
        x = torch.cat([first, self.embed(x_0) + self.positions], dim=1)
        whole = torch.cat([hidden.new_zeros(len(y), self.buffer), hidden], dim=1)
        h = self.encoder(x, hidden=whole)
        tokens = torch.where(hidden[..., None], self.mask_token.to(h.dtype), h[:, self.buffer :]) + self.positions
        known: Tensor = self.decoder(torch.cat([h[:, : self.buffer], tokens], dim=1), read=slice(self.buffer, None))
        return known

    def loss(self, x_0: Tensor, y: Tensor, draws: Draws) -> Loss:
        """The squared error of the head's velocity on hidden tokens, a mean over them and over four noises."""
        share = truncated_normal(draws.uniform("hidden share"), LEAST, MEAN, DEVIATION)
        ranks = draws.uniform("hidden places", *x_0.shape[:2]).argsort(1).argsort(1)
        hidden = ranks < (share * self.length).ceil()
        known, total = self(x_0, y, hidden), x_0.new_zeros(())
        for number in range(HEAD_NOISES):
            t = draws.uniform(f"time {number}", *x_0.shape[:2])
            eps = draws.normal(f"noise {number}", *x_0.shape)
            z_t = (1 - t[..., None]) * x_0 + t[..., None] * eps
            squared = (self.head(z_t, t, known) - (eps - x_0)).square().mean(-1)
            total = total + (squared * hidden).sum() / hidden.sum()
        return Loss({"velocity": total / HEAD_NOISES})

    def draw(self, y: Tensor, draws: Draws, scale: float, steps: int) -> Tensor:
        """Latents (B, L, Z) of classes y (B,): tokens in random order, in as many rounds as tokens, at most 64.

        The head takes `steps` steps of Euler for the tokens of a round. Guidance grows with the share of known tokens,
        as published.
        """
        x = torch.zeros(len(y), *self.shape, device=y.device)
        hidden = torch.ones(len(y), self.length, dtype=torch.bool, device=y.device)
        order = draws.uniform("order", len(y), self.length).argsort(1)  # the last tokens are drawn first
        total, before = rounds("mar", self.length), self.length
        for done in range(total):
            left = math.floor(self.length * math.cos(math.pi / 2 * (done + 1) / total)) if done + 1 < total else 0
            left = min(left, before - 1)
            w = 1 + (scale - 1) * (1 - left / self.length)
            places = order[:, left:before, None]  # of the tokens of this round
            known = self(x, y, hidden).take_along_dim(places, 1)
            without = known
            if scale != 1:
                without = self(x, torch.full_like(y, self.classes), hidden).take_along_dim(places, 1)
            z = draws.normal(f"token noise {done}", *x.shape).take_along_dim(places, 1)
            for step in range(steps, 0, -1):
                t = torch.full(z.shape[:2], step / steps, device=x.device)
                v = self.head(z, t, known)
                if scale != 1:
                    v_0 = self.head(z, t, without)
                    v = v_0 + w * (v - v_0)
                z = z - v / steps
            x = x.scatter(1, places.expand_as(z), z)
            hidden = hidden.scatter(1, places[..., 0], False)
            before = left
        return x
