"""How much the decoder depends on the latents."""

from __future__ import annotations

from harness.evaluation.reconstructed import Reconstructed
from harness.evaluation.records import Value

title = "shuffled error"
about = "rise of the squared error if every image is decoded from the latents of another"
unit = ""
better = ""
digits = 3
splits = ("val",)


def measure(m: Reconstructed) -> Value:
    return Value((m.shuffled_errors - m.errors).mean().item(), len(m.errors))


def protocol(m: Reconstructed) -> str:
    return f"squared error on [-1, 1], mean over pixels and images, latents moved on by one image; {m.decoded}"
