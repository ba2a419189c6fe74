"""Writes a SoftVQ-VAE of a store in the layout of the released ones: python released_layout.py RUN FILE STORE.

`python -m harness.convert FILE --from softvq --image-size SIDE --to FOLDER` reads it back. What is added to tokens is
sqrt(10) times smaller there: norms add 1e-6 to the variance, ours 1e-5. Sums of two tensors are the first one here.
"""

import sys

import torch
from safetensors.torch import save_file

import harness

run, file, store = sys.argv[1:]
model = harness.load_tokenizer(run, runs=store)
ours = model.tokenizer.state_dict()
tokenizer = model.config.tokenizer
patch, smaller = tokenizer.patch_size, 10**-0.5
released = {"quantize.embedding": ours["quantiser.codes"]}


def layer(name: str, of_ours: str, scale: float = 1.0) -> None:
    for kind in ("weight", "bias"):
        released[f"{name}.{kind}"] = scale * ours[f"{of_ours}.{kind}"]


def half(name: str, depth: int, image_tokens: torch.Tensor) -> None:
    class_token = smaller * ours[f"{name}_class"]
    released[f"{name}.model.cls_token"] = class_token
    released[f"{name}.model.pos_embed"] = torch.cat([0 * class_token, smaller * image_tokens], dim=1)
    for i in range(depth):
        there, here = f"{name}.model.blocks.{i}", f"{name}.{i}"
        layer(f"{there}.norm1", f"{here}.norm1")
        layer(f"{there}.attn.qkv", f"{here}.qkv")
        layer(f"{there}.attn.proj", f"{here}.proj", smaller)
        layer(f"{there}.norm2", f"{here}.norm2")
        layer(f"{there}.mlp.fc1", f"{here}.mlp.0")
        layer(f"{there}.mlp.fc2", f"{here}.mlp.2", smaller)
    layer(f"{name}.model.norm", f"{name}.{depth}")


half("encoder", tokenizer.encoder.depth, ours["image_positions"])
half("decoder", tokenizer.decoder.depth, ours["reconstruction_tokens"])
layer("encoder.model.patch_embed.proj", "embed", smaller)
pixels = released["encoder.model.patch_embed.proj.weight"]
released["encoder.model.patch_embed.proj.weight"] = pixels.unflatten(1, (3, patch, patch))
released["encoder.latent_tokens"] = smaller * ours["latent_tokens"]
released["encoder.latent_pos_embed"] = 0 * ours["latent_tokens"]
released["decoder.latent_pos_embed"] = smaller * ours["latent_positions"]
released["decoder.mask_token"] = torch.zeros(1, 1, tokenizer.decoder.width)
layer("quant_conv", "to_mean")
layer("post_quant_conv", "from_latents", smaller)
for kind in ("weight", "bias"):  # rows in the order (row, column, channel)
    rows = ours[f"to_pixels.{kind}"].unflatten(0, (3, patch, patch)).movedim(0, 2).flatten(0, 2)
    released[f"decoder.to_pixel.model.{kind}"] = rows
save_file({name: tensor.contiguous() for name, tensor in released.items()}, file)
