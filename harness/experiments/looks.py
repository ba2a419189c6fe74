"""Planned looks at a study that grows until its claims are decided."""

from __future__ import annotations

from harness.system.errors import Mistake

LOOKS = (3, 5, 8, 12, 18, 27, 40, 60)  # numbers of seeds, each about half as many again
FEWEST = 2  # seeds that have an interval


def looks(most: int) -> tuple[int, ...]:
    """The numbers of seeds at which a study of at most `most` seeds is looked at; raises `Mistake` below two."""
    if most < FEWEST:
        raise Mistake(f"--max-seeds {most}: fewer than {FEWEST} seeds have no interval, and decide nothing")
    return (*(n for n in LOOKS if n < most), most)
