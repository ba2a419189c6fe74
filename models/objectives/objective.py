"""The objective of a tokenizer (MacTok Eq. 7 and its peers'): named terms, each with a weight."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from models import config, tokenizers
from models.autoencoders.posterior import Posterior
from models.objectives.alignment import AlignmentLoss, Features
from models.objectives.auxiliary import AuxiliaryLoss
from models.objectives.disturbance import disturbed
from models.objectives.foundation import FoundationLoss, gradient_ratio
from models.objectives.loss_terms import Loss
from models.objectives.masking import Draws, image_mask, latent_mask

IMAGE_TERMS = ("reconstruction", "perceptual")  # the terms that compare images
Perceptual = Callable[[Tensor, Tensor], Tensor]


class Objective(nn.Module):
    """The tokenizer and the heads that are trained with it. `teacher_widths` is (patch, class), needed for alignment.

    Terms, before their weights: `reconstruction`, the squared error as a mean over pixels in [-1, 1]; `kl`, nats
    summed over L x Z, mean over the batch; `entropy` or `codes`, of codes; `alignment`, L_RA; `auxiliary`;
    `foundation`; `perceptual`. The training loop with a discriminator adds `adversarial`.
    """

    def __init__(
        self,
        tokenizer: config.Tokenizer,
        image_size: int,
        teacher_widths: tuple[int, int] | None = None,
        perceptual: Perceptual | None = None,
    ):
        super().__init__()
        self.config = c = tokenizer
        form = tokenizers.latents(tokenizer, image_size)
        self.tokenizer = tokenizers.network(tokenizer, image_size)
        self.image_tokens = tokenizer.image_tokens(image_size)
        self.perceptual = perceptual
        needs = c.alignment.active or c.auxiliary.active or c.foundation.active
        assert teacher_widths is not None or not needs, "a teacher is needed"
        patch_width, class_width = teacher_widths or (0, 0)
        if c.alignment.active:
            self.alignment = AlignmentLoss(c.alignment, form.channels, patch_width, class_width)
        if c.auxiliary.active:
            side = image_size // c.patch_size
            self.auxiliary = AuxiliaryLoss(c.auxiliary, side, form.tokens, form.channels, patch_width)
        if c.foundation.active:
            self.foundation = FoundationLoss(c.foundation, form.channels, patch_width)
        if c.likelihood.active:
            self.log_scale = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, draws: Draws, teacher: Features | None) -> Loss:
        """The loss of images x (B, 3, H, W) at one step."""
        c, b = self.config, len(x)
        mask = image_mask(c.masking, draws, b, self.image_tokens, teacher and teacher.s) if c.masking.on else None
        posterior = self.tokenizer.encode(x, mask)
        z = posterior.sample(draws.normal("latents", *posterior.mean.shape))
        hidden = self.tokenizer.without_latents(mask)
        if c.latent_masking.on:
            hidden = latent_mask(c.latent_masking, draws, b, z.shape[1])
        reconstruction = self.tokenizer.decode(disturbed(c, z, draws), hidden)
        terms = self.reconstruction_terms(x, reconstruction)
        terms |= self._terms_of_latents(posterior)
        terms |= self._terms_of_teacher(x, mask, z if c.alignment.latents == "sample" else posterior.mean, z, teacher)
        return Loss(terms, reconstruction)

    def reconstruction_terms(self, x: Tensor, reconstruction: Tensor) -> dict[str, Tensor]:
        """The terms that compare images only; decoder fine-tuning uses the same terms.

        As a likelihood they are divided by its scale, and the logarithm of that is added.
        """
        squared = not self.config.likelihood.on
        terms = {"reconstruction": (functional.mse_loss if squared else functional.l1_loss)(reconstruction, x)}
        if self.perceptual is not None:
            terms["perceptual"] = self.perceptual(x, reconstruction)
        if not squared:
            terms = {name: value * (-self.log_scale).exp() for name, value in terms.items()}
            terms["reconstruction"] = terms["reconstruction"] + self.log_scale
        return terms

    def _terms_of_latents(self, posterior: Posterior) -> dict[str, Tensor]:
        """The terms that need nothing but the posterior."""
        free = self.config.gaussian.free_nats
        if posterior.log_variance is not None:
            kl = posterior.kl()
            if free is None:
                return {"kl": kl.sum((1, 2)).mean()}
            return {"kl": kl.mean(0).clamp(min=free).sum()}
        quantiser = self.tokenizer.quantiser
        return {} if quantiser is None else {quantiser.term: quantiser.loss(posterior)}

    def _terms_of_teacher(
        self, x: Tensor, mask: Tensor | None, aligned: Tensor, z: Tensor, teacher: Features | None
    ) -> dict[str, Tensor]:
        """The terms that compare latents with a teacher; the heads are called only if they are on."""
        terms = {}
        if self.config.alignment.active:
            terms["alignment"] = self.alignment(aligned, _needed(teacher))
        if self.config.auxiliary.active:
            assert mask is not None, "the auxiliary decoders predict what is hidden"
            terms["auxiliary"] = self.auxiliary(z, x, mask, _needed(teacher))
        if self.config.foundation.active:
            terms["foundation"] = self.foundation(z, _needed(teacher))
        return terms

    def balanced(self, terms: dict[str, Tensor], weighted: dict[str, Tensor]) -> dict[str, Tensor]:
        """The factors of terms that depend on gradients, beside `weights`; all can be differentiated afterwards.

        `weighted` are the terms times `weights`: the terms of images count as they do at this step.
        """
        if "foundation" not in terms:
            return {}
        of_images = [weighted[name] for name in IMAGE_TERMS if name in weighted]
        return {"foundation": gradient_ratio(of_images, terms["foundation"], self.tokenizer.last_of_encoder)}

    def weights(self, step: int) -> dict[str, float]:
        """The weight of every term at `step`, counted from 0."""
        c = self.config
        warmup = min(1.0, (step + 1) / max(1, c.perceptual.warmup_steps))
        return {
            "reconstruction": 1.0,
            "perceptual": c.perceptual.weight * warmup,
            "kl": c.gaussian.kl_weight * c.annealing.share(step),
            "entropy": c.soft_codes.entropy_weight,
            "codes": 1.0,
            "alignment": c.alignment.weight,
            "auxiliary": 1.0,
            "foundation": c.foundation.weight,
            "adversarial": c.adversarial.weight,
        }

    def resting(self, step: int) -> list[nn.Parameter]:
        """The parameters that do not learn at `step`: the decoder's, while it lags."""
        return self.tokenizer.decoder_parameters() if self.config.lagging.rests(step) else []


def _needed(teacher: Features | None) -> Features:
    assert teacher is not None, "a teacher is needed"
    return teacher


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
