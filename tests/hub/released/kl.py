"""KL and plain autoencoder of the SoftVQ-VAE repository."""

from __future__ import annotations

from tests.hub.layouts.timm_vit import timm_decoded, timm_encoded, timm_state
from tests.hub.layouts.writer import CHANNELS, Case


def kl() -> Case:
    s = timm_state(0, 2 * CHANNELS).state
    return Case(s, lambda x: timm_encoded(s, x).chunk(2, -1), lambda z: timm_decoded(s, z))


def kl_plain() -> Case:
    s = timm_state(1).state
    return Case(s, lambda x: (timm_encoded(s, x), None), lambda z: timm_decoded(s, z))


CASES = {"kl": kl, "kl without variance": kl_plain}
