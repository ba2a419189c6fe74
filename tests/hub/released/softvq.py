"""SoftVQ-VAE."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from tests.hub.layouts.timm_vit import timm_decoded, timm_encoded, timm_state
from tests.hub.layouts.writer import CHANNELS, LENGTH, WIDTH, Case


def softvq() -> Case:
    w = timm_state(2)
    w.add("quantize.embedding", 2, 16, CHANNELS, std=1.0)
    w.add("quantize.codebook_used", 2, 100)
    w.layer("projection.0", 8, CHANNELS)
    w.add("repa_model.cls_token", 1, 1, WIDTH)
    s = w.state

    def encode(x: Tensor) -> tuple[Tensor, None]:
        h, books = timm_encoded(s, x), s["quantize.embedding"]
        rows = []
        for i in range(LENGTH):
            book = functional.normalize(books[i // (LENGTH // 2)], dim=-1)
            rows.append((functional.normalize(h[:, i], dim=-1) @ book.mT / 0.07).softmax(-1) @ book)
        return torch.stack(rows, 1), None

    return Case(s, encode, lambda z: timm_decoded(s, z))


CASES = {"softvq": softvq}
