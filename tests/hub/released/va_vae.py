"""VA-VAE: the coarsest levels of both halves attend."""

from __future__ import annotations

from tests.hub.layouts.convolutional import convolutional

CASES = {"va_vae": lambda: convolutional(11, (True, True))}
