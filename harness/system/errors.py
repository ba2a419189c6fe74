"""The two kinds of error that a user sees as one clear line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class Mistake(Exception):
    """Something wrong in what was asked: nothing was written, exit code 2."""


class Trouble(Exception):
    """Something went wrong on the way (disk full, damaged file): nothing is lost, exit code 1."""


def unknown(kind: str, name: str, choices: Iterable[str]) -> Mistake:
    """The mistake of naming a `kind` that does not exist: the nearest match and all choices."""
    choices = list(choices)
    near = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return Mistake(f"unknown {kind} {name!r}.{hint} Choices: {', '.join(choices)}")
