"""Pages as a static site, and their tables as files: HTML, LaTeX and CSV of what a Markdown page says.

The site needs no network: its style and its script stand in every file, and pictures lie beside it.
"""

from __future__ import annotations

import html as html_text
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from harness.system.files import write_text
from reports.pages import index
from reports.pages.rendering import anchor, title_of

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

MATHEMATICS = {"±": r"$\pm$", "↓": r"$\downarrow$", "↑": r"$\uparrow$", "∞": r"$\infty$", "–": "--", "→": r"$\to$"}
SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
SPECIAL |= {letter: f"\\{letter}" for letter in "&%$#_{}"}


def write_site(out: Path) -> Path:
    """Writes the index of the folder `out` and all of its pages in HTML; returns the path of the index."""
    for page in index.pages(out):
        write_html(page)
    return write_html(index.write(out))


def write_html(page: Path) -> Path:
    """Writes the page NAME.md as NAME.html beside it; returns the path."""
    text = page.read_text(encoding="utf-8")
    templates = Environment(loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, autoescape=True)
    html = templates.get_template("site.html.j2").render(
        title=html_text.unescape(title_of(text)), body=_body(text), is_index=page.name == index.INDEX
    )
    return _written(page.with_suffix(".html"), html)


def write_csv(page: Path) -> list[Path]:
    """Writes every table of the page as a CSV file, NAME/tables/HEADING.csv; returns the paths."""
    return [_written(path.with_suffix(".csv"), table.to_csv(index=False)) for path, table in _tables(page)]


def write_latex(page: Path) -> list[Path]:
    """Writes every table of the page for the package booktabs, NAME/tables/HEADING.tex; returns the paths."""
    return [_written(path.with_suffix(".tex"), _latex(table)) for path, table in _tables(page)]


def _body(text: str) -> str:
    """The page in HTML: headings have anchors, links stay in the site, tables scroll, a picture opens at full size."""
    markdown = _parser()
    tokens = markdown.parse(text)
    for token, following in zip(tokens, [*tokens[1:], None], strict=True):
        if token.type == "heading_open" and following is not None:
            token.attrSet("id", anchor(_text(following)))
        for inner in token.children or []:
            href = str(inner.attrGet("href") or "")
            if inner.type == "link_open" and re.fullmatch(r"[^/:#]+\.md(#.*)?", href):
                inner.attrSet("href", href.replace(".md", ".html", 1))
    html: str = markdown.renderer.render(tokens, markdown.options, {})
    html = html.replace("<table>", '<div class="wide" tabindex="0" role="region" aria-label="table"><table>')
    html = re.sub("[^>]*(?=</th>)", _head, html.replace("</table>", "</table></div>"))
    return re.sub(
        r'<img src="([^"]*)" alt="([^"]*)" />', r'<a href="\1"><img src="\1" alt="\2" loading="lazy"></a>', html
    )


def _head(found: re.Match[str]) -> str:
    """The head of a column, which may break within names of stages, but not before its arrow."""
    return re.sub(" (?=[↓↑])", "\u00a0", found[0].replace("_", "_<wbr>"))


def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"html": True}).enable("table")


def _tables(page: Path) -> Iterator[tuple[Path, pd.DataFrame]]:
    """The tables of a page, each with a path from the heading above it, without suffix."""
    heading, seen = "", dict[str, int]()
    tokens = iter(_parser().parse(page.read_text(encoding="utf-8")))
    for token in tokens:
        if token.type == "heading_open":
            heading = anchor(_text(next(tokens)))
        if token.type == "table_open":
            seen[heading] = seen.get(heading, 0) + 1
            number = f"-{seen[heading]}" if seen[heading] > 1 else ""
            yield page.with_suffix("") / "tables" / f"{heading}{number}", _table(tokens)


def _table(tokens: Iterator[Token]) -> pd.DataFrame:
    """The table whose tokens follow."""
    lines: list[list[str]] = []
    for token in tokens:
        if token.type == "table_close":
            break
        if token.type == "tr_open":
            lines.append([])
        if token.type == "inline":
            lines[-1].append(_text(token))
    return pd.DataFrame(lines[1:], columns=lines[0])


def _text(token: Token) -> str:
    """The text of a token without emphasis and links, with plain spaces."""
    return "".join(inner.content for inner in token.children or []).replace("\u00a0", " ")


def _latex(table: pd.DataFrame) -> str:
    """A tabular of booktabs; its numbers and names are those of the page."""
    escaped = table.rename(columns=_escaped).map(_escaped)
    return str(
        escaped.style.hide(axis="index").to_latex(hrules=True, column_format="l" + "r" * (len(table.columns) - 1))
    )


def _escaped(text: str) -> str:
    return "".join(SPECIAL.get(letter) or MATHEMATICS.get(letter) or letter for letter in text)


def _written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)
    return path
