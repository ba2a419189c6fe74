"""A tokenizer from outside: a Python object that encodes and decodes, and is not trained here."""

from __future__ import annotations

from typing import ClassVar

from pydantic.dataclasses import dataclass

from models.config.sizes import STRICT, Count, Positive


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
    weights: Count = 0
    """The number of weights, if the object tells it."""

    unhashed: ClassVar[tuple[str, ...]] = ("source",)

    @property
    def active(self) -> bool:
        return self.on
