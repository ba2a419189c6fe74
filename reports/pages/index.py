"""The index of the pages: every page with its answer in one line."""

from __future__ import annotations

from pathlib import Path

from harness.system.files import write_text
from reports.pages.rendering import answer_of, title_of

INDEX = "index.md"


def pages(out: Path) -> dict[Path, str]:
    """The pages in the folder `out` with their texts. Other Markdown files, which a user may have there, are none."""
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(out.glob("*.md")) if path.name != INDEX}
    return {path: text for path, text in texts.items() if answer_of(text)}


def write(out: Path) -> Path:
    """Writes index.md, with a line for every page in the folder `out`; returns its path."""
    lines = [f"- [{title_of(text)}]({path.name}): {answer_of(text)}" for path, text in pages(out).items()]
    write_text(out / INDEX, "\n".join(["# All pages", "", *lines, ""]))
    return out / INDEX
