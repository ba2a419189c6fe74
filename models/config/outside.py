"""A tokenizer from outside: a Python object that encodes and decodes, and is not trained here."""

from __future__ import annotations

from typing import ClassVar

from pydantic.dataclasses import dataclass

from models.config.sizes import STRICT, Count, Positive


@dataclass(frozen=True, config=STRICT)
class Outside:
    """Where the object is, and what was seen of it.

    `source` is FILE.py:NAME or MODULE:NAME, with =ARGUMENT if NAME takes one; it is no part of keys. `sha256` stands
    for its files, `side` is that of its grid of latents if they lie on one, `weights` is how many it has, if it tells.
    """

    on: bool = False
    source: str = ""
    sha256: str = ""
    side: Positive | None = None
    weights: Count = 0

    unhashed: ClassVar[tuple[str, ...]] = ("source",)

    @property
    def active(self) -> bool:
        return self.on
