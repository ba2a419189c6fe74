"""The configuration of a pretrained tokenizer, config.json."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from huggingface_hub.constants import CONFIG_NAME
from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from safetensors import SafetensorError, safe_open

from harness.hub import licenses
from harness.networks.tensor_files import require_short_header
from harness.store.records import Record
from harness.system.errors import Mistake, Trouble
from models import config, tokenizers
from models.config import STRICT, Positive
from models.forms import Latents

Config = TypeVar("Config")
LICENSE_ID = r"^[a-z0-9.-]+$"


@dataclass(frozen=True, config=STRICT)
class Source:
    """A run that made weights or numbers, and the commit of its code."""

    stage: str
    key: str
    commit: str
    uncommitted: bool  # whether there were changes on top of the commit


@dataclass(frozen=True, config=STRICT)
class Origin:
    """Where a tokenizer comes from, and its metrics, every number with its protocol.

    `variant` names the nearest variant and the fields that differ from it, or the layout of a released checkpoint,
    which has no `scale` here; `trained` and `data` are in words.
    `attribution` comes from the data set; it is "" if the data set states none.
    """

    variant: str
    scale: str
    trained: str
    data: str
    attribution: str
    sources: tuple[Source, ...]
    records: tuple[Record, ...]


@dataclass(frozen=True, config=STRICT)
class PretrainedConfig:
    """The content of config.json.

    `latent_mean` and `latent_std` are the statistics of every latent channel (Z,) over the training images, their
    mirror images if it was trained on these too (`mirrored`), tokens and posterior samples; None if they were not
    measured. `license` is that of the weights, as the Hub writes it.
    """

    image_size: Positive
    tokenizer: config.Tokenizer
    origin: Origin
    latent_mean: tuple[float, ...] | None = None
    latent_std: tuple[float, ...] | None = None
    license: Annotated[str, Field(pattern=LICENSE_ID)] = licenses.DEFAULT
    mirrored: bool = True

    @property
    def latents(self) -> Latents:
        """The form of the latents of an image."""
        return tokenizers.latents(self.tokenizer, self.image_size)

    def __post_init__(self) -> None:
        self.latents  # noqa: B018  (raises for a tokenizer that cannot be)
        if (self.latent_mean is None) != (self.latent_std is None):
            raise ValueError("latent_mean and latent_std go together")
        for name in ("latent_mean", "latent_std"):
            values = getattr(self, name)
            if values is not None and len(values) != self.latents.channels:
                raise ValueError(f"{name} has {len(values)} values for {self.latents.channels} channels")


def checked(kind: type[Config], given: Config | Mapping[str, Any]) -> Config:
    """The config; raises `Mistake` for a field that does not exist, is missing or has a value out of range."""
    try:
        return TypeAdapter(kind).validate_python(given)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        unknown = first["type"] == "unexpected_keyword_argument"
        what = "unknown field" if unknown else first["msg"].removeprefix("Value error, ")
        raise Mistake(f"{CONFIG_NAME}: {field + ': ' if field else ''}{what}") from None


def require_sizes(needed: int, path: str) -> None:
    """Raises `Mistake` if a configuration needs many more weights than the file has by its header.

    It can ask for any size: nothing is built before it is checked. Raises `Trouble` for a damaged file.
    """
    try:
        require_short_header(Path(path))
        with safe_open(path, "pt") as file:  # it compares the sizes in the header with that of the file
            shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise Trouble(f"{path} is damaged or does not fit its {CONFIG_NAME}: {reason}") from None
    stored = sum(map(math.prod, shapes))
    if needed > 2 * stored:  # a smaller difference is damage, which loading tells with its names
        raise Mistake(f"{CONFIG_NAME} asks for {needed:,} weights, and {path} has {stored:,}")
