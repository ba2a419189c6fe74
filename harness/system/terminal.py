"""Text that fits the terminal: its width, tables, and names with explanations."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence

from tabulate import MIN_PADDING, tabulate

from harness.system.texts import cells_of

NARROW = 20  # a column of so many characters is never wrapped
GAP = 2  # blanks between two columns


def width() -> int | None:
    """The columns of the terminal that standard output goes to, or of the variable COLUMNS; else None: no limit."""
    if not (os.environ.get("COLUMNS") or sys.stdout.isatty()):
        return None
    return shutil.get_terminal_size().columns or None


def table(
    lines: Sequence[Sequence[object]], heads: Sequence[str], spare: Sequence[str] = (), right: Sequence[str] = ()
) -> str:
    """A table that fits: wide columns are wrapped, and if that is not enough, columns are left out and named below.

    `spare` are the heads of the columns that are left out first, in this order; the others follow from the right, but
    the first two stay. The columns of the heads in `right` are aligned there.
    """
    kept, limit = list(heads), width()
    columns = {head: [str(line[k]) for line in lines] for k, head in enumerate(heads)}
    order = [*(head for head in spare if head in heads), *(head for head in reversed(heads[2:]) if head not in spare)]
    while limit is not None and order and _least_width({head: columns[head] for head in kept}) > limit:
        kept.remove(order.pop(0))
    shown = {head: columns[head] for head in kept}
    if limit is not None:
        shown = _wrapped(shown, _fitted(shown, limit))
    sides = ["right" if head in right else "left" for head in kept] if lines else None
    text = tabulate(list(zip(*shown.values(), strict=True)), list(shown), disable_numparse=True, colalign=sides)
    left_out = [head for head in heads if head not in kept]
    if limit is None or not left_out:
        return text
    return f"{text}\n" + textwrap.fill(f"Columns that this terminal is too narrow for: {', '.join(left_out)}.", limit)


def fitted(markdown: str) -> str:
    """Markdown whose tables fit the terminal; without a terminal it stays as it is."""
    if width() is None:
        return markdown
    return "\n\n".join(_fitted_block(block) for block in markdown.split("\n\n"))


def _fitted_block(block: str) -> str:
    lines = block.split("\n")
    if not all(line.startswith("|") for line in lines):
        return block
    heads, _, *cells = ([cell.strip("*") for cell in cells_of(line)] for line in lines)
    return table(cells, heads, spare=heads[-2:1:-1])  # the last one is the status


def _least_width(columns: Mapping[str, Sequence[str]]) -> int:
    return sum(_least(head, cells) for head, cells in columns.items()) + GAP * (len(columns) - 1)


def _least(head: str, cells: Sequence[str]) -> int:
    """The width down to which a column is wrapped: words of its head stay whole, and all cells if they are narrow."""
    return max(_longest(head.split()) + MIN_PADDING, min(NARROW, _longest(cells)))


def _longest(texts: Sequence[str]) -> int:
    return max((len(line) for text in texts for line in text.split("\n")), default=0)


def _fitted(columns: Mapping[str, Sequence[str]], limit: int) -> list[int]:
    """The widths of columns: the widest one is narrowed until all of them fit."""
    least = [_least(head, cells) for head, cells in columns.items()]
    widths = [max(len(head) + MIN_PADDING, _longest(cells)) for head, cells in columns.items()]
    while sum(widths) + GAP * (len(widths) - 1) > limit:
        wide = [k for k in range(len(widths)) if widths[k] > least[k]]
        if not wide:
            break
        widths[max(wide, key=lambda k: widths[k])] -= 1
    return widths


def _wrapped(columns: Mapping[str, Sequence[str]], widths: Sequence[int]) -> dict[str, list[str]]:
    """The columns with lines of at most these widths, heads included."""

    def lines(text: str, most: int) -> str:
        return "\n".join(part for line in text.split("\n") for part in textwrap.wrap(line, most) or [""])

    return {
        lines(head, most - MIN_PADDING): [lines(cell, most) for cell in cells]
        for (head, cells), most in zip(columns.items(), widths, strict=True)
    }


def prose(text: str) -> str:
    """Lines of words, each wrapped at the width of the terminal."""
    limit = width()
    if limit is None:
        return text
    return "\n".join(
        textwrap.fill(line, limit, break_on_hyphens=False, break_long_words=False) for line in text.split("\n")
    )


def entries(about: Mapping[str, str]) -> str:
    """A line for every name with its explanation, which is wrapped beside or below the name."""
    column, limit = max(map(len, about), default=0) + 2 * GAP, width()
    if limit is None:
        return "\n".join(f"  {name:<{column - 2 * GAP}}  {text}".rstrip() for name, text in about.items())
    beside, parts = column <= limit / 2, []
    for name, text in about.items():
        indent = " " * (column if beside else 3 * GAP)
        start = f"  {name:<{column - 2 * GAP}}  " if beside else f"  {name}\n{indent}"
        wrapped = textwrap.wrap(text, max(limit - len(indent), NARROW), break_on_hyphens=False)
        parts.append((start + f"\n{indent}".join(wrapped)).rstrip())
    return "\n".join(parts)
