"""The two kinds of error that a user sees as one clear line."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Sequence


class Mistake(Exception):
    """The request is wrong: nothing was written, exit code 2."""


class Trouble(Exception):
    """The work failed (disk full, damaged file): nothing is lost, exit code 1."""


def repeated(names: Sequence[str]) -> list[str]:
    """The names that stand there more than once, sorted."""
    return sorted(name for name, times in Counter(names).items() if times > 1)


def unknown(kind: str, name: str, choices: Iterable[str]) -> Mistake:
    """The error for a `kind` that does not exist; its message gives the nearest match and all choices."""
    choices = list(choices)
    near = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return Mistake(f"unknown {kind} {name!r}.{hint} Choices: {', '.join(choices)}")
