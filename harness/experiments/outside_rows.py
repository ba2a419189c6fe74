"""Tokenizers from outside as rows: what names them, and what their rows are called."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from harness.experiments.study import Row
from harness.system import paths
from harness.system.errors import Mistake, repeated
from harness.system.texts import printable

PUBLISHED = "harness.hub.outside:Pretrained"  # the adapter of published tokenizers of this project
# FILE.py:NAME=ARGUMENT or MODULE:NAME=ARGUMENT; a path may hold = and : too.
SOURCE = re.compile(r"(?P<place>.+?\.py|[\w.]+):(?P<name>[^\W\d]\w*)(?:=(?P<argument>.*))?", re.DOTALL)


class OutsideRow(NamedTuple):
    """A tokenizer from outside, as a row: its source, the form of its latents, and what stands for its files."""

    source: str
    tokens: int
    channels: int
    side: int | None
    sha256: str
    weights: int

    @property
    def from_here(self) -> str:
        """The source as a command in the working folder names it: FILE.py:NAME=ARGUMENT with paths from there."""
        if (found := SOURCE.fullmatch(self.source)) is None:
            return self.source
        argument = "" if found["argument"] is None else f"={paths.from_here(found['argument'])}"
        return f"{paths.from_here(found['place'])}:{found['name']}{argument}"

    @property
    def names(self) -> list[str]:
        """Names for its row, from the shortest: its file and class with the end of its argument, then longer paths.

        A published tokenizer of this project is named by its folder, an object of a module first without the module.
        """
        found = SOURCE.fullmatch(self.source)
        place, name, argument = found.groups() if found else ("", *self.source.partition("=")[::2])
        argument = (argument or "").rstrip("/")
        named = [] if place.endswith(".py") else [name + f"={argument.rpartition('/')[2]}" * bool(argument)]
        for parts in range(1, max(place.count("/"), argument.count("/")) + 2):
            of_place, end = ("/".join(path.split("/")[-parts:]) for path in (place, argument))
            named.append(":".join(filter(None, [of_place, name])) + f"={end}" * bool(end))
        if self.source.startswith(f"{PUBLISHED}="):
            named = ["/".join(argument.split("/")[-parts:]) for parts in range(1, argument.count("/") + 2)]
        return [printable(text) for text in named]

    def row(self, name: str) -> Row:
        """The row called `name`: nothing of it is trained but its generator."""
        off = ("perceptual.on", "adversarial.on", "dinov2_encoder")
        return Row(
            name,
            "autoencoder",
            fields={
                "tokenizer.name": "outside",
                "tokenizer.outside.on": True,
                "tokenizer.outside.source": self.source,
                "tokenizer.outside.sha256": self.sha256,
                "tokenizer.outside.side": self.side,
                "tokenizer.outside.weights": self.weights,
                "tokenizer.tokens": self.tokens,
                "tokenizer.channels": self.channels,
                "finetuning.on": False,
                **{f"tokenizer.{part}": False for part in off},
            },
        )


def outside_rows(tokenizers: Sequence[OutsideRow], taken: Sequence[str] = ()) -> list[Row]:
    """The rows of tokenizers from outside, each by the shortest name that no other and none of `taken` has.

    Raises `Mistake` for a tokenizer that is named twice.
    """
    if twice := repeated([tokenizer.source for tokenizer in tokenizers]):
        raise Mistake(f"--tokenizer names {twice[0]} twice")
    rows = []
    for tokenizer in tokenizers:
        others = {*taken, *(name for other in tokenizers if other is not tokenizer for name in other.names)}
        name = next((name for name in tokenizer.names if name not in others), tokenizer.source)
        rows.append(tokenizer.row(name))
    return rows
