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
    return Mistake(f"unknown {kind} {name!r}.{did_you_mean(name, choices)} Choices: {', '.join(choices)}")


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """The question after the name nearest to `name`, in any case and with any dashes; "" if none is near."""
    plain: dict[str, str] = {}
    for choice in choices:
        plain.setdefault(_plain(choice), choice)
    near = difflib.get_close_matches(_plain(name), plain, n=1, cutoff=0.5)
    return f" Did you mean {plain[near[0]]!r}?" if near else ""


def _plain(name: str) -> str:
    return "".join(c for c in name.casefold() if c not in " -_") or name
