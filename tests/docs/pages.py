"""The pages of the documentation, and what stands in them."""

from __future__ import annotations

import re
from pathlib import Path

from tests.toy import ROOT

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def documents() -> list[Path]:
    """README, CONTRIBUTING and the pages in `docs/`."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def pages() -> list[Path]:
    """All pages in the repository with links, those of results included."""
    out = ROOT / "reports/out"
    results = [path for path in sorted((ROOT / "reports").rglob("*.md")) if out not in path.parents]
    return [*documents(), ROOT / "CHANGELOG.md", *results]


def name(path: Path) -> str:
    """The path in the repository."""
    return path.relative_to(ROOT).as_posix()


def text(path: Path) -> str:
    """A page without its blocks of code."""
    return BLOCK.sub("", path.read_text(encoding="utf-8"))


def blocks(path: Path, language: str) -> list[str]:
    """The blocks of code of a language in a page."""
    return [code for kind, code in BLOCK.findall(path.read_text(encoding="utf-8")) if kind == language]
