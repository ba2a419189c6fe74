"""A tokenizer from outside: a Python object that encodes and decodes, and is not trained here."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from models.config.sizes import STRICT, Positive

MOST_WEIGHTS = 10**12


@dataclass(frozen=True, config=STRICT)
class Outside:
    """Where the object is, and what was seen of it."""

    on: bool = False
    """The tokenizer is an object from outside, as `--tokenizer` sets it."""
    source: str = ""
    """FILE.py:NAME or MODULE:NAME, with =ARGUMENT if NAME takes one. It is no part of keys."""
    sha256: str = ""
    """It stands for the files of the object."""
    side: Positive | None = None
    """The side of the grid of latents, if they lie on one."""
    weights: Annotated[int, Field(ge=0, le=MOST_WEIGHTS)] = 0
    """The number of weights, if the object tells it."""

    unhashed: ClassVar[tuple[str, ...]] = ("source",)

    @property
    def active(self) -> bool:
        return self.on
