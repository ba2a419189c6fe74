"""From a released checkpoint to a pretrained tokenizer or generator of ours."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import ModuleType

import torch
from pydantic import ValidationError
from torch import Tensor

from harness.hub import released as layouts
from harness.hub.checkpoint import Checkpoint, Converted, file_in, read
from harness.hub.config import Origin, PretrainedConfig
from harness.hub.generator import GeneratorConfig, PretrainedGenerator
from harness.hub.licenses import UNKNOWN
from harness.hub.tokenizer import PretrainedTokenizer
from harness.networks.tensor_files import stored_numbers
from harness.system import plugins
from harness.system.errors import Mistake
from harness.system.files import checksum
from harness.system.texts import in_cell

TIMES = 2  # as many weights as numbers that are stored: some tensors share them, and some weights are made from others


def tokenizer_in(path: Path, name: str, image_size: int | None) -> PretrainedTokenizer:
    """The tokenizer in a checkpoint whose layout is one of tokenizers."""
    model = converted(path, name, image_size)
    assert isinstance(model, PretrainedTokenizer)
    return model


def generator_in(path: Path, name: str) -> PretrainedGenerator:
    """The generator in a checkpoint whose layout is one of generators."""
    model = converted(path, name)
    assert isinstance(model, PretrainedGenerator)
    return model


def converted(path: Path, name: str, image_size: int | None = None) -> PretrainedTokenizer | PretrainedGenerator:
    """The model in the checkpoint `path`, a file or a folder, whose layout is called `name`.

    `image_size` in pixels is that of a tokenizer that works at any. Raises `Mistake` if the checkpoint does not fit.
    """
    layout = plugins.load(layouts.__name__, name, "layout")
    file = file_in(path)
    about, tensors = f"{file} does not fit the layout {name}", read(file)
    origin = f"converted from {in_cell(file.name)} (SHA-256 {checksum(file)}), layout {name}"
    try:
        _require_shapes(about, tensors, layout, image_size)
        made = _made(Checkpoint(about, tensors, layout.IGNORED), layout, image_size)
        if not isinstance(made, Converted):
            if image_size is not None:
                raise Mistake(f"--image-size {image_size}: {name} is a layout of generators, which have no image size")
            return _generator(*made, origin)
        if image_size not in (None, made.image_size):
            raise Mistake(f"--image-size {image_size}: {file} is for images of {made.image_size} px")
        return _tokenizer(made, Origin(name, "", f"elsewhere; {origin}", "as its authors say", "", (), ()))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise Mistake(f"{about}: {field and f'{field}: '}{first['msg'].removeprefix('Value error, ')}") from None


def _require_shapes(about: str, tensors: dict[str, Tensor], layout: ModuleType, image_size: int | None) -> None:
    """Raises `Mistake` if shapes do not fit, or ask for more weights than are stored; it takes no memory for any."""
    shapes = Checkpoint(about, {name: tensor.to("meta") for name, tensor in tensors.items()}, layout.IGNORED)
    with torch.device("meta"):
        *_, state = _made(shapes, layout, image_size)
    needed, stored = sum(tensor.numel() for tensor in state.values()), stored_numbers(tensors.values())
    if needed > TIMES * stored:
        raise Mistake(f"{about}: its names ask for {needed:,} weights, and {stored:,} are stored")


def _made(
    released: Checkpoint, layout: ModuleType, image_size: int | None
) -> Converted | tuple[GeneratorConfig, dict[str, Tensor]]:
    """What a layout makes of a checkpoint that fits it."""
    made: Converted | tuple[GeneratorConfig, dict[str, Tensor]] = (
        layout.generator(released) if hasattr(layout, "generator") else layout.tokenizer(released, image_size)
    )
    released.require_fit()
    return made


def _generator(config: GeneratorConfig, state: dict[str, Tensor], origin: str) -> PretrainedGenerator:
    generator = PretrainedGenerator(dataclasses.replace(config, origin=origin))
    generator.network.load_state_dict(state)
    return generator


def _tokenizer(made: Converted, origin: Origin) -> PretrainedTokenizer:
    tokenizer = PretrainedTokenizer(PretrainedConfig(made.image_size, made.tokenizer, origin, license=UNKNOWN))
    tokenizer.tokenizer.load_state_dict(made.state)
    return tokenizer
