"""Adapters that make other tokenizers into objects for `--tokenizer MODULE:NAME=ARGUMENT`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.system.errors import Trouble

if TYPE_CHECKING:
    from torch import Tensor


ADAPTED = ("AutoencoderKL", "AutoencoderDC", "VQModel")


class Pretrained:
    """A published tokenizer of this project, from its folder or its name on the Hugging Face hub."""

    def __init__(self, name: str):
        from harness.hub.tokenizer import PretrainedTokenizer

        self.tokenizer = PretrainedTokenizer.from_pretrained(name)
        self.side = self.tokenizer.config.latents.side
        self.weights = sum(p.numel() for p in self.tokenizer.parameters())

    def encode(self, images: Tensor) -> Tensor:
        """The posterior's mode, on a grid if the tokenizer has one."""
        z = self.tokenizer.to(images.device).encode(images)
        return z if self.side is None else z.mT.unflatten(2, (self.side, self.side))

    def decode(self, latents: Tensor) -> Tensor:
        """The images of such latents."""
        z = latents if self.side is None else latents.flatten(2).mT
        images: Tensor = self.tokenizer.to(latents.device).decode(z)
        return images


class Diffusers:
    """An autoencoder in a folder of diffusers: AutoencoderKL, AutoencoderDC or VQModel."""

    def __init__(self, folder: str):
        try:
            import diffusers
        except ImportError:
            raise Trouble('diffusers is not installed: pip install -e ".[diffusers]"') from None
        kind = _class_name(Path(folder, "config.json"))
        if kind not in ADAPTED:
            raise Trouble(f"{folder} is of diffusers' class {kind}, none of {', '.join(ADAPTED)}")
        self.network: Any = getattr(diffusers, kind).from_pretrained(folder, use_safetensors=True).eval()
        self.weights = sum(p.numel() for p in self.network.parameters())

    def encode(self, images: Tensor) -> Tensor:
        """The posterior's mode, or the latents before codes."""
        coded = self.network.to(images.device).encode(images)
        z: Tensor = coded.latent_dist.mode() if hasattr(coded, "latent_dist") else next(iter(coded.values()))
        return z

    def decode(self, latents: Tensor) -> Tensor:
        """The images of such latents; a VQModel replaces them by codes first."""
        images: Tensor = self.network.to(latents.device).decode(latents).sample
        return images


def _class_name(file: Path) -> str:
    """The class that a config.json of diffusers names. Raises `Trouble`."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return str(content["_class_name"])
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        raise Trouble(f"{file.parent} is no folder of diffusers: {file.name} does not name a class") from None
