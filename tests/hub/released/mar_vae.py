"""MAR-VAE: the coarsest level of the encoder attends."""

from __future__ import annotations

from tests.hub.layouts.convolutional import convolutional

CASES = {"mar_vae": lambda: convolutional(12, (True, False))}
