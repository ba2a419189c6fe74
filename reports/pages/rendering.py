"""The rendering of pages from their templates, and what stands in every page: its contents and its answer."""

from __future__ import annotations

import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from harness.system.files import write_text
from harness.system.texts import without_tags

TEMPLATES = Path(__file__).parent.parent
ANSWER = "The answer"  # the heading below which a page has it, as a list
CONTENTS = "<!-- contents -->"  # where a template wants the links to its headings
HEADING = re.compile(r"^## (.+)$", re.MULTILINE)


def write_page(template: str, path: Path, **values: object) -> Path:
    """Renders a template with `values`, writes the page to `path` atomically, and returns the path."""
    templates = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: without_tags(value) if isinstance(value, str) else value,
    )
    text = re.sub(r"\n{3,}", "\n\n", templates.get_template(template).render(**values))
    links = " · ".join(f"[{heading}](#{anchor(heading)})" for heading in HEADING.findall(text))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text.replace(CONTENTS, links, 1))
    return path


def anchor(heading: str) -> str:
    """The anchor that code hosts give to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def title_of(page: str) -> str:
    """The title of a page, from its text."""
    return page.partition("\n")[0].removeprefix("# ")


def answer_of(page: str) -> str:
    """The first line of a page's answer, from its text; empty if it has none."""
    below = page.partition(f"\n## {ANSWER}\n")[2]
    return next((line.removeprefix("- ") for line in below.splitlines() if line.startswith("- ")), "")
