"""From a released checkpoint to a pretrained tokenizer or generator of ours."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from pydantic import ValidationError

from harness.hub import released as layouts
from harness.hub.checkpoint import Checkpoint, file_in, read
from harness.hub.config import Origin, PretrainedConfig
from harness.hub.generator import PretrainedGenerator
from harness.hub.tokenizer import PretrainedTokenizer
from harness.system import plugins
from harness.system.errors import Mistake
from harness.system.files import checksum


def tokenizer_in(path: Path, name: str, image_size: int | None) -> PretrainedTokenizer:
    """The tokenizer in a checkpoint whose layout is one of tokenizers."""
    model = converted(path, name, image_size)
    assert isinstance(model, PretrainedTokenizer)
    return model


def converted(path: Path, name: str, image_size: int | None = None) -> PretrainedTokenizer | PretrainedGenerator:
    """The model in the checkpoint `path`, a file or a folder, whose layout is called `name`.

    `image_size` in pixels is that of a tokenizer that works at any. Raises `Mistake` if the checkpoint does not fit.
    """
    layout = plugins.load(layouts.__name__, name, "layout")
    file = file_in(path)
    released = Checkpoint(f"{file} does not fit the layout {name}", read(file), layout.IGNORED)
    origin = f"converted from {file.name} (SHA-256 {checksum(file)}), layout {name}"
    try:
        if hasattr(layout, "generator"):
            config, state = layout.generator(released)
            released.require_fit()
            generator = PretrainedGenerator(dataclasses.replace(config, origin=origin))
            generator.network.load_state_dict(state)
            return generator
        made = layout.tokenizer(released, image_size)
        released.require_fit()
        trained = Origin(name, "", f"elsewhere; {origin}", "as its authors say", "", (), ())
        tokenizer = PretrainedTokenizer(PretrainedConfig(made.image_size, made.tokenizer, trained))
    except ValidationError as error:
        raise Mistake(f"{released.about}: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None
    if image_size not in (None, made.image_size):
        raise Mistake(f"--image-size {image_size}: {file} is for images of {made.image_size} px")
    tokenizer.tokenizer.load_state_dict(made.state)
    return tokenizer
