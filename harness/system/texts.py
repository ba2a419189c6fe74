"""Texts of unknown origin: names of files, contents of a store. They may hold anything."""

from __future__ import annotations

import html
import re
import sys
from collections.abc import Sequence
from pathlib import Path

SCRIPT = "tokenizer-harness"  # the console script
COMMAND = re.compile(r"(?:python -m )?\bharness\.([a-z]+)(?![\w.])")
CODE_OR_TAG = re.compile(r"`[^`|\n]*`|<(?=[A-Za-z/!?])")  # code shows its tags
BAR = re.compile(r"(?<!\\)\|")  # between two cells


def printable(text: str, keep: str = "") -> str:
    """The text with escapes for all that cannot be printed, except for the characters of `keep`."""
    return "".join(c if c.isprintable() or c in keep else repr(c)[1:-1] for c in text)


def by_script() -> bool:
    """Whether this command was typed with the console script, and not with `python -m`."""
    return Path(sys.argv[0]).name == SCRIPT


def as_typed(text: str) -> str:
    """A text whose commands are those of `python -m`, with commands as this one was typed."""
    return COMMAND.sub(rf"{SCRIPT} \1", text) if by_script() else text


def plain_markdown(text: str) -> str:
    """The text as one line of Markdown that makes no link, image or HTML."""
    return printable(text, "").replace("<", "&lt;").replace("](", "]\\(").replace("![", "!\\[").replace("][", "]\\[")


def without_tags(text: str) -> str:
    """Markdown in which nothing is HTML: a tag is shown as it is written."""
    return CODE_OR_TAG.sub(lambda found: "&lt;" if found.group() == "<" else found.group(), text)


def in_cell(text: str) -> str:
    """Markdown as a cell of a table: one line, without bars, tags and links of its own."""
    return without_tags(BAR.sub(r"\\|", printable(text, keep="\u00a0"))).replace("](", "]\\(")


def cells_of(line: str) -> list[str]:
    """The cells of a line of a table, as plain text."""
    inner = line.strip().removeprefix("|").removesuffix("|")
    return [html.unescape(cell.replace("\\|", "|").replace("]\\(", "](")).strip() for cell in BAR.split(inner)]


def counted(number: int, noun: str) -> str:
    """A number and its noun, in the plural unless it is 1."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def listed(names: Sequence[str]) -> str:
    """Names as a list in a sentence: "A, B and C"."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def alike(names: Sequence[str]) -> str:
    """A name, or several that share a place: "A, B and C alike"."""
    return listed(names) + " alike" * (len(names) > 1)


def and_more(names: Sequence[str], most: int) -> str:
    """The first `most` names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
