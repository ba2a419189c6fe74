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
    """The question after the name nearest to `name`, in any case and with any dashes; "" if none is near.

    Near is a name with one letter wrong, with a few of them if it is long, or one that begins like `name`.
    """
    plain: dict[str, str] = {}
    for choice in choices:
        plain.setdefault(_plain(choice), choice)
    given = _plain(name)
    near = [choice for choice in plain if _near(given, choice)]
    return f" Did you mean {plain[max(near, key=lambda choice: _likeness(given, choice))]!r}?" if near else ""


def _near(given: str, choice: str) -> bool:
    least = 0.75 if len(given) < 5 else 0.8  # what one wrong letter of four leaves, or of five
    begins = len(given) > 1 and _likeness(given, choice[: len(given)]) > 0.85
    return begins or _likeness(given, choice) >= least or sorted(given) == sorted(choice)


def _likeness(a: str, b: str) -> float:
    """The share of letters that two texts have in common, in the same order."""
    return difflib.SequenceMatcher(None, a, b).ratio()


def _plain(name: str) -> str:
    return "".join(c for c in name.casefold() if c not in " -_") or name
