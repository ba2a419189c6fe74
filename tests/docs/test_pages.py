"""What the pages name exists: links, anchors, and the files and names of the way from the paper to the code."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

from tests.docs.pages import documents, name, pages, text
from tests.test_layers import RANKS
from tests.toy import ROOT

LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^)\s]+)\)")
PICTURE = re.compile(r'<img src="([^"]+)"')
HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)
EXTRA = re.compile(r"""(.{0,15})(["']?\.\[([a-z]+)\]["']?)""")
CODE = re.compile(r"`([^`]+)`")


def anchors(path: Path) -> set[str]:
    """The anchors of the headings of a page, as code hosts and the site make them."""
    plain = (re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading in HEADING.findall(text(path)))
    return {re.sub(r"\s", "-", heading) for heading in plain}


@pytest.mark.parametrize("path", pages(), ids=name)
def test_links_and_anchors_lead_somewhere(path):
    for link in LINK.findall(text(path)) + PICTURE.findall(text(path)):
        if link.startswith(("https://", "http://")):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.is_relative_to(ROOT) and target.is_file(), link
        assert not anchor or anchor in anchors(target), link


def test_extras_are_installed_in_one_way():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    code = [path for folder in ("harness", "models", "reports") for path in sorted((ROOT / folder).rglob("*.py"))]
    for path in [*documents(), *code]:
        for before, quoted, extra in EXTRA.findall(path.read_text(encoding="utf-8")):
            assert quoted == f'".[{extra}]"' and extra in extras, (path, extra)
            assert before.endswith(("pip install -e ", " or ")), (path, extra)


def test_all_pages_of_the_documentation_can_be_reached():
    seen, waiting = set[Path](), [ROOT / "README.md"]
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        links = (link.partition("#")[0] for link in LINK.findall(text(path)) if "://" not in link)
        waiting += [target for link in links if (target := (path.parent / link).resolve()).suffix == ".md"]
    assert seen >= set(documents())


def test_the_site_has_all_pages():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    for path in documents():
        assert re.search(rf"[ :]{re.escape(name(path))}\n", navigation), path


def test_the_reference_has_every_package():
    for package in RANKS:
        path = ROOT / f"docs/api/{package}.md"
        is_package = (ROOT / package.replace(".", "/")).is_dir()
        assert path.exists() == is_package, package
        assert not is_package or f"\n::: {package}\n" in path.read_text(encoding="utf-8")


def test_the_first_page_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def from_paper_to_code() -> list[tuple[str, str]]:
    """Every file of that page with every name beside it."""
    found = []
    for line in (ROOT / "docs/paper.md").read_text(encoding="utf-8").splitlines():
        files = [link.removeprefix("../") for link in LINK.findall(line) if link.endswith(".py")]
        if line.startswith("|") and files:
            names = CODE.findall(line.rstrip("| ").rpartition("|")[2])
            assert names, line
            found += [(files[-1], each) for each in names]  # what draws a figure stands behind its study
            found += [(file, "study") for file in files[:-1]]
    return found


def defined(path: Path) -> set[str]:
    """What a module defines at its top, and `Class.method`."""
    names = set[str]()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{part.name}" for part in node.body if isinstance(part, ast.FunctionDef)}
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


@pytest.mark.parametrize(("file", "what"), from_paper_to_code())
def test_the_way_from_the_paper_to_the_code_ends_in_code(file, what):
    assert what in defined(ROOT / file)


def test_every_table_and_figure_with_a_study_is_on_that_way():
    named = {file for file, _ in from_paper_to_code()}
    studies = [*ROOT.glob("ablations/table*.py"), *ROOT.glob("ablations/fig*.py")]
    assert studies and {name(path) for path in studies} <= named
