"""MAETok."""

from __future__ import annotations

from tests.hub.layouts.timm_vit import mixed, timm_decoded, timm_encoded, timm_state
from tests.hub.layouts.writer import DEPTH, WIDTH, Case, N


def maetok(modulated: bool = True) -> Case:
    w = timm_state(3, class_token=False, modulated=modulated)
    for half in ("encoder", "decoder"):
        w.add(f"{half}.freqs", 2, DEPTH, WIDTH // 2, std=1.0)
        for axis in ("x", "y"):
            w.add(f"{half}.freqs_t_{axis}", N)
    w.add("encoder.mask_token", 1, 1, WIDTH)
    w.add("decoder_hog.mask_token", 1, 1, 8)
    s = w.state
    return Case(
        s,
        lambda x: (timm_encoded(s, x, mixed(s, "encoder", 1)), None),
        lambda z: timm_decoded(s, z, mixed(s, "decoder", 0)),
    )


CASES = {"maetok": maetok, "maetok with a plain decoder": lambda: maetok(modulated=False)}
