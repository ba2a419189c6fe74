"""Tokenizers, one file each, found by name. A tokenizer module imports no torch and offers

    latents(tokenizer, image_size) -> models.forms.Latents
        the form of its latents; raises ValueError for a configuration that it cannot have
    cost(tokenizer, image_size) -> models.costs.Halves
        parameters and FLOPs of encoder and decoder, with their bottleneck, without what only training uses
    network(tokenizer, image_size) -> models.autoencoders.tokenizer.Tokenizer
        the network itself, with random weights

The parts of the configuration (`models.config`) that it does not read have to be off: it says in `PARTS` which of the
`CHOSEN` parts it can have.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from types import ModuleType
from typing import TYPE_CHECKING

from models.config import Tokenizer
from models.costs import Halves
from models.forms import Latents

if TYPE_CHECKING:
    from models.autoencoders import tokenizer as networks

DEFAULT = "vit_1d"
CHOSEN = (
    *("gaussian", "soft_codes", "codes", "masking", "latent_masking", "auxiliary", "foundation", "convolution"),
    *("rotary", "dinov2_encoder", "released_positions", "proxy_codes", "outside"),
)


OUTSIDE: dict[str, ModuleType] = {}  # tokenizers that users add, by name


@functools.cache
def _ours() -> list[str]:
    return [module.name for module in pkgutil.iter_modules(__path__)]


def names() -> list[str]:
    """The names of all tokenizers."""
    return sorted({*_ours(), *OUTSIDE})


def latents(tokenizer: Tokenizer, image_size: int) -> Latents:
    """The form of the latents. Raises ValueError for a configuration that the tokenizer cannot have."""
    module = _module(tokenizer)
    for part in CHOSEN:
        value = getattr(tokenizer, part)
        if getattr(value, "active", value) and part not in module.PARTS:
            raise ValueError(f"tokenizer {tokenizer.name or DEFAULT} has no {part}")
    form: Latents = module.latents(tokenizer, image_size)
    n = tokenizer.image_tokens(image_size)
    if tokenizer.alignment.local_term and n % form.tokens:
        raise ValueError(f"alignment.local_term: {form.tokens} latents cannot be repeated for N = {n} image tokens")
    if tokenizer.auxiliary.on:
        size = tokenizer.auxiliary.size
        if not tokenizer.masking.on:
            raise ValueError("auxiliary: the decoders predict hidden patches, and masking is off")
        if size.width // size.heads % 4 or tokenizer.patch_size % 2:
            raise ValueError("auxiliary: heads have to be multiples of 4 wide, and patches an even number of pixels")
    if tokenizer.foundation.on and n != form.tokens:
        raise ValueError(f"foundation: a grid of {form.tokens} latents is not that of the N = {n} image tokens")
    if tokenizer.soft_codes.on and form.tokens % tokenizer.soft_codes.codebooks:
        raise ValueError(f"L = {form.tokens} tokens cannot be split over {tokenizer.soft_codes.codebooks} codebooks")
    return form


def cost(tokenizer: Tokenizer, image_size: int) -> Halves:
    """Parameters and FLOPs of encoder and decoder."""
    halves: Halves = _module(tokenizer).cost(tokenizer, image_size)
    return halves


def parameters(tokenizer: Tokenizer, image_size: int) -> int:
    """Weights of encoder, bottleneck and decoder, with positions and learned tokens, without heads of terms."""
    return sum(half.parameters for half in cost(tokenizer, image_size))


def network(tokenizer: Tokenizer, image_size: int) -> networks.Tokenizer:
    """The network, with random weights."""
    net: networks.Tokenizer = _module(tokenizer).network(tokenizer, image_size)
    return net


def _module(tokenizer: Tokenizer) -> ModuleType:
    """The file of a tokenizer; raises ValueError with the names if there is none."""
    name = tokenizer.name or DEFAULT
    if name not in (known := names()):
        raise ValueError(f"tokenizer.name {name!r} is none of {', '.join(known)}")
    return OUTSIDE.get(name) or importlib.import_module(f"{__name__}.{name}")
