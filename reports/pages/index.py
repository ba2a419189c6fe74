"""The index of the pages: every page with its answer in one line. Pages of one title also show their commands."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from harness.system.files import write_text
from reports.pages.rendering import answer_of, command_of, title_of

INDEX = "index.md"


def pages(out: Path) -> dict[Path, str]:
    """The pages in the folder `out` with their texts. Other Markdown files, which a user may have there, are none."""
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(out.glob("*.md")) if path.name != INDEX}
    return {path: text for path, text in texts.items() if answer_of(text)}


def _apart(path: Path, text: str) -> str:
    """What tells a page from others of its title: the words of its command, or else its name."""
    return f" (`{command_of(text) or path.stem}`)"


def write(out: Path) -> Path:
    """Writes index.md, with a line for every page in the folder `out`; returns its path."""
    found = pages(out)
    titles = Counter(map(title_of, found.values()))
    lines = [
        f"- [{title}]({path.name}){_apart(path, text) if titles[title] > 1 else ''}: {answer_of(text)}"
        for path, text in found.items()
        if (title := title_of(text))
    ]
    write_text(out / INDEX, "\n".join(["# All pages", "", *lines, ""]))
    return out / INDEX
