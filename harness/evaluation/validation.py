"""Measures a tokenizer during its training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.evaluation.collapse import active_units

if TYPE_CHECKING:
    import numpy as np

    from harness.system.machine import Machine
    from models.autoencoders.posterior import Posterior
    from models.autoencoders.tokenizer import Tokenizer


class Validation:
    """Error, KL, active units and shuffled-latent error on the first validation images, during training.

    All use the mode of the posterior. `val/shuffled_error` is the rise of the squared error if every image is decoded
    from the latents of another.
    """

    IMAGES = 256

    def __init__(self, images: np.ndarray, machine: Machine):
        from harness.data.tensors import to_tensor

        self.machine = machine
        self.x = machine.put(to_tensor(images[: self.IMAGES]))

    def __call__(self, tokenizer: Tokenizer) -> dict[str, float]:
        import torch

        with torch.no_grad(), self.machine.autocast():
            posterior = tokenizer.encode(self.x)
            error = (tokenizer.decode(posterior.mean) - self.x).square().mean().item()
            shuffled = (tokenizer.decode(posterior.mean.roll(1, 0)) - self.x).square().mean().item()
        return {"val/error": error, "val/shuffled_error": shuffled - error, **_of_latents(posterior)}


def _of_latents(posterior: Posterior) -> dict[str, float]:
    active = active_units(posterior).float().mean().item()
    if posterior.log_variance is None:
        return {"val/active_units": active}
    return {"val/active_units": active, "val/kl": posterior.kl().sum((1, 2)).mean().item()}
