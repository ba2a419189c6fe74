"""The objective of a tokenizer (MacTok Eq. 7): named terms, each with a weight."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from models import config
from models.alignment import AlignmentLoss, Features
from models.loss_terms import Loss
from models.masking import Draws, image_mask, latent_mask
from models.tokenizer import Tokenizer

Perceptual = Callable[[Tensor, Tensor], Tensor]


class Objective(nn.Module):
    """The tokenizer and the heads that are trained with it. `teacher_widths` is (patch, class), needed for alignment.

    Terms, before their weights: `reconstruction`, the squared error as a mean over pixels in [-1, 1]; `kl`, nats
    summed over L x Z, mean over the batch; `alignment`, L_RA; `perceptual`. The training loop with a discriminator
    adds `adversarial`.
    """

    def __init__(
        self,
        tokenizer: config.Tokenizer,
        image_size: int,
        teacher_widths: tuple[int, int] | None = None,
        perceptual: Perceptual | None = None,
    ):
        super().__init__()
        self.config = tokenizer
        self.tokenizer = Tokenizer(tokenizer, image_size)
        self.image_tokens = tokenizer.image_tokens(image_size)
        self.perceptual = perceptual
        if tokenizer.alignment.active:
            assert teacher_widths is not None, "alignment needs a teacher"
            self.alignment = AlignmentLoss(tokenizer.alignment, tokenizer.channels, *teacher_widths)

    def forward(self, x: Tensor, draws: Draws, teacher: Features | None) -> Loss:
        """The loss of images x (B, 3, H, W) at one step."""
        c, b = self.config, len(x)
        score = teacher.s if teacher else None
        mask = image_mask(c.masking, draws, b, self.image_tokens, score) if c.masking.on else None
        posterior = self.tokenizer.encode(x, mask)
        z = posterior.sample(draws.normal("latents", *posterior.mean.shape))
        hidden = latent_mask(c.latent_masking, draws, b, c.tokens) if c.latent_masking.on else None
        reconstruction = self.tokenizer.decode(z, hidden)
        terms = self.reconstruction_terms(x, reconstruction)
        if c.gaussian.on:
            terms["kl"] = posterior.kl().sum((1, 2)).mean()
        if c.alignment.active:
            assert teacher is not None, "alignment needs a teacher"
            terms["alignment"] = self.alignment(z if c.alignment.latents == "sample" else posterior.mean, teacher)
        return Loss(terms, reconstruction)

    def reconstruction_terms(self, x: Tensor, reconstruction: Tensor) -> dict[str, Tensor]:
        """The terms that compare images only; decoder fine-tuning uses the same terms."""
        terms = {"reconstruction": functional.mse_loss(reconstruction, x)}
        if self.perceptual is not None:
            terms["perceptual"] = self.perceptual(x, reconstruction)
        return terms

    def weights(self, step: int) -> dict[str, float]:
        """The weight of every term at `step`, counted from 0."""
        c = self.config
        warmup = min(1.0, (step + 1) / max(1, c.perceptual.warmup_steps))
        return {
            "reconstruction": 1.0,
            "perceptual": c.perceptual.weight * warmup,
            "kl": c.gaussian.kl_weight,
            "alignment": c.alignment.weight,
            "adversarial": c.adversarial.weight,
        }


class DecoderObjective(nn.Module):
    """The objective of decoder fine-tuning: the reconstruction terms, for latents of the frozen encoder."""

    def __init__(self, objective: Objective):
        super().__init__()
        self.objective = objective

    def forward(self, x: Tensor, draws: Draws) -> Loss:
        """The loss of images x (B, 3, H, W) at one step."""
        with torch.no_grad():
            posterior = self.objective.tokenizer.encode(x)
            z = posterior.sample(draws.normal("latents", *posterior.mean.shape))
        reconstruction = self.objective.tokenizer.decode(z)
        return Loss(self.objective.reconstruction_terms(x, reconstruction), reconstruction)
