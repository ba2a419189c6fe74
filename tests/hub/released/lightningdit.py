"""LightningDiT."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.hub.layouts.dit import dit, dit_state, on_grid
from tests.hub.layouts.formulas import attend, linear, rms
from tests.hub.layouts.writer import CHANNELS, DEPTH, HEADS, SIDE, WIDTH, Case, N


def lightningdit(qk_norm: bool = False) -> Case:
    w, hidden, head = dit_state(10, "x_embedder.proj", 1, CHANNELS, CHANNELS, N), 8 * WIDTH // 3, WIDTH // HEADS
    for i in range(DEPTH):
        w.layer(f"blocks.{i}.mlp.w12", 2 * hidden, WIDTH)
        w.layer(f"blocks.{i}.mlp.w3", WIDTH, hidden)
        for norm in ("norm1", "norm2"):
            w.add(f"blocks.{i}.{norm}.weight", WIDTH, std=0.2, mean=1.0)
        for norm in ("q_norm", "k_norm") if qk_norm else ():
            w.add(f"blocks.{i}.attn.{norm}.weight", head, std=0.2, mean=1.0)
    w.add("final_layer.norm_final.weight", WIDTH, std=0.2, mean=1.0)
    k = torch.arange(head // 4)
    angle = torch.arange(SIDE)[:, None] * 10_000.0 ** (-k / (head // 4))
    angle = angle.repeat_interleave(2, -1)
    rows, columns = angle[:, None].expand(-1, SIDE, -1), angle[None].expand(SIDE, -1, -1)
    angle = torch.cat([rows, columns], -1).flatten(0, 1)  # (N, d)
    s = w.state | {"feat_rope.freqs_cos": angle.cos(), "feat_rope.freqs_sin": angle.sin()}

    def block(name: str, x: Tensor, c: Tensor) -> Tensor:
        if name == "final_layer":
            return rms(s["final_layer.norm_final.weight"], x)
        shift1, scale1, gate1, shift2, scale2, gate2 = linear(s, f"{name}.adaLN_modulation.1", c)[:, None].chunk(6, -1)
        q, k, v = linear(s, f"{name}.attn.qkv", rms(s[f"{name}.norm1.weight"], x) * (1 + scale1) + shift1).chunk(3, -1)

        def turned(part: Tensor, norm: str) -> Tensor:
            part = part.unflatten(-1, (HEADS, head))
            if qk_norm:
                part = rms(s[f"{name}.attn.{norm}.weight"], part)
            part = part.transpose(1, 2)
            partner = torch.stack([-part[..., 1::2], part[..., ::2]], -1).flatten(-2)
            turned = part * s["feat_rope.freqs_cos"] + partner * s["feat_rope.freqs_sin"]
            return turned.transpose(1, 2).flatten(2)

        out = attend(torch.cat([turned(q, "q_norm"), turned(k, "k_norm"), v], -1), HEADS)
        x = x + gate1 * linear(s, f"{name}.attn.proj", out)
        y = rms(s[f"{name}.norm2.weight"], x) * (1 + scale2) + shift2
        gate, value = linear(s, f"{name}.mlp.w12", y).chunk(2, -1)
        return x + gate2 * linear(s, f"{name}.mlp.w3", gate * torch.sigmoid(gate) * value)

    return Case(s, velocity=lambda x, t, y: -dit(s, on_grid(s, x, 1), 1 - t, y, block))


CASES = {"lightningdit": lightningdit, "lightningdit with norms of queries": lambda: lightningdit(qk_norm=True)}
