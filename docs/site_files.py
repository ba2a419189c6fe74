"""A hook of mkdocs: the site has the files of the repository under their own paths.

So a relative link works both on a code host and in the site.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

SHOWN = ("*.md", "LICENSE", "CITATION.cff", "pyproject.toml", "docs/**/*", "reports/**/*.md", "reports/**/*.png")
LINKED = ("ablations/**/*", "harness/**/*", "models/**/*", "reports/**/*.py", "tests/**/*.py")  # as they are
LEFT_OUT = re.compile(r"__pycache__|^reports/out/|\.j2$")
EXAMPLE = re.compile(
    r"^\[`[^`]+`\]\((examples/[\w/]+\.py)\)$", re.MULTILINE
)  # a line that is only a link to an example


def on_files(files: Files, config: Any) -> Files:
    """Adds what pages show and what they link to, by its path in the repository."""
    root = Path(config.config_file_path).parent
    for file in [file for file in files if file.abs_src_path and Path(file.abs_src_path).is_relative_to(root / "docs")]:
        files.remove(file)
    paths = {path for pattern in SHOWN + LINKED for path in root.glob(pattern) if path.is_file()}
    for path in sorted(paths):
        name = path.relative_to(root).as_posix()
        if not LEFT_OUT.search(name):
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Shows an example below the line that links to it, and reads Markdown inside `<details>`, as code hosts do."""
    here = Path(page.file.abs_src_path).parent

    def shown(link: re.Match[str]) -> str:
        return f"{link[0]}\n\n```python\n{(here / link[1]).read_text(encoding='utf-8').rstrip()}\n```"

    return EXAMPLE.sub(shown, markdown).replace("<details>", "<details markdown>")
