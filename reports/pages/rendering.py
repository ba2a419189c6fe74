"""The rendering of pages from their templates, and what stands in every page: its contents and its answer."""

from __future__ import annotations

import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from harness.experiments.scales import SCALES
from harness.system.files import write_text
from harness.system.texts import without_tags

TEMPLATES = Path(__file__).parent.parent
ANSWER = "The answer"  # the heading below which a page has it, as a list
NO_BREAK = "\u00a0"
CONTENTS = "<!-- contents -->"  # where a template wants the links to its headings
MEANINGLESS = "The numbers of this page mean nothing: `smoke` trains for a few steps, to show that everything runs."
MADE_BY = re.compile(r"^Made by `python -m harness\.\w+ (.+?)`\. ", re.MULTILINE)
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
    text = unbroken(re.sub(r"\n{3,}", "\n\n", templates.get_template(template).render(**values)))
    links = " · ".join(f"[{heading}](#{anchor(heading)})" for heading in HEADING.findall(text))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text.replace(CONTENTS, links, 1))
    return path


def unbroken(text: str) -> str:
    """The text with spaces that do not break between a number and its deviation."""
    return re.sub(r"(?<=\d) ± (?=\d)", f"{NO_BREAK}±{NO_BREAK}", text)


def preface(scale: str) -> str:
    """What has to be known before any number of a page at this scale; empty if there is nothing."""
    return MEANINGLESS if SCALES[scale].meaningless else ""


def command_of(page: str) -> str:
    """The words of the command that made a page, from its text, without the name of the program; empty if not told."""
    found = MADE_BY.search(page)
    return found.group(1) if found else ""


def anchor(heading: str) -> str:
    """The anchor that code hosts give to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def title_of(page: str) -> str:
    """The title of a page, from its text."""
    return page.partition("\n")[0].removeprefix("# ")


def answer_of(page: str) -> str:
    """The first line of a page's answer, from its text; empty if it has none. Of a page without meaning it says so."""
    below = page.partition(f"\n## {ANSWER}\n")[2]
    first = next((line.removeprefix("- ") for line in below.splitlines() if line.startswith("- ")), "")
    return MEANINGLESS if first and MEANINGLESS in page else first
