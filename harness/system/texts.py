"""Texts of unknown origin: names of files, contents of a store. They may hold anything."""

from __future__ import annotations


def printable(text: str, keep: str = "") -> str:
    """The text with escapes for all that cannot be printed, except for the characters of `keep`."""
    return "".join(c if c.isprintable() or c in keep else repr(c)[1:-1] for c in text)


def plain_markdown(text: str) -> str:
    """The text as one line of Markdown that makes no link, image or HTML."""
    return printable(text, "").replace("<", "&lt;").replace("](", "]\\(").replace("![", "!\\[").replace("][", "]\\[")
