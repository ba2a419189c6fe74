"""The index of the pages: every page with its answer in one line."""

from __future__ import annotations

from pathlib import Path

from harness.system.files import replacing
from reports.pages import answer_of, title_of

INDEX = "index.md"


def write(out: Path) -> Path:
    """Writes index.md, with a line for every page in the folder `out`; returns its path."""
    lines = ["# All pages", ""]
    for path in sorted(out.glob("*.md")):
        if path.name != INDEX and (answer := answer_of(text := path.read_text(encoding="utf-8"))):
            lines.append(f"- [{title_of(text)}]({path.name}): {answer}")
    with replacing(out / INDEX) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return out / INDEX
