"""The site in a real browser: it fits a telephone and a desk, follows the light, and its tables can be sorted."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from reports.pages import site
from reports.tables import markdown

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium"),
]
NUMBERS = ("10.0 ± 1.0", "9.5 ± 0.5", "–", "100.0 ± 3.0")
SIZES = {"telephone": (390, 800), "desk": (1280, 800)}
LONG = "package.module:" + "AVeryLongName" * 8  # a word of a command
# A window has a least width, a frame has none.
FRAMED = """<iframe src="{page}" style="width: {width}px; height: {height}px; border: 0"></iframe>
<script>addEventListener("message", (event) => (document.title = event.data))</script>"""
# What a user would do, and what is then on the page, as the title.
CLICKS = """<script>
const button = document.querySelectorAll("th button")[1];
button.focus();
const focused = document.activeElement === button;
const column = () => [...document.querySelectorAll("tbody tr")].map((line) => line.cells[1].textContent).join("|");
button.click();
const up = column();
button.click();
const wide = document.documentElement.scrollWidth > document.documentElement.clientWidth;
location.hash = "#folded";
setTimeout(() => {
  const { open } = document.querySelector("details");
  const scrolls = document.querySelector(".wide");
  scrolls.scrollLeft = 200;
  const first = document.querySelector("tbody td").getBoundingClientRect().left - scrolls.getBoundingClientRect().left;
  const found = [focused, up, column(), button.parentElement.ariaSort, wide, open, innerWidth, Math.round(first)];
  parent.postMessage(found.join("#"), "*");
}, 50);
</script>"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    wide = {f"c{i}": "1" * 12 for i in range(9)}
    lines = [{"row": f"row {k} with a long name", "gFD ↓": number} | wide for k, number in enumerate(NUMBERS)]
    folded = "<details><summary>more</summary>\n\n## Folded\n\ntext\n\n</details>"
    text = f"# A page\n\nMade by `python -m {LONG}`.\n\n## Results\n\n{markdown(lines)}\n\n{folded}\n"
    (tmp_path / "page.md").write_text(text)
    return site.write_html(tmp_path / "page.md")


def browse(page: Path, *words: str) -> str:
    profile = page.with_name("profile")
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}", *words]
    done = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


@pytest.mark.parametrize("size", SIZES)
def test_tables_are_sorted_and_folds_open(size, page):
    page.write_text(page.read_text().replace("</body>", f"{CLICKS}</body>"))
    width, height = SIZES[size]
    frame = page.with_name("frame.html")
    frame.write_text(FRAMED.format(page=page.name, width=width, height=height))
    text = browse(frame, "--window-size=1400,900", "--virtual-time-budget=2000", "--dump-dom")
    title = html.unescape(re.search("<title>(.*?)</title>", text)[1]).replace("\u00a0", " ")
    focused, up, down, sort, wide, opened, seen, first = title.split("#")
    assert (focused, wide, opened) == ("true", "false", "true")
    assert (int(seen), int(first)) == (width, 0)  # the name of a row stays where its numbers scroll
    assert up.split("|") == ["9.5 ± 0.5", "10.0 ± 1.0", "100.0 ± 3.0", "–"]
    assert down.split("|") == ["100.0 ± 3.0", "10.0 ± 1.0", "9.5 ± 0.5", "–"]
    assert sort == "descending"


def test_a_dark_screen_has_a_dark_page(page):
    corners = []
    for words in ([], ["--blink-settings=preferredColorScheme=0"]):
        shot = page.with_suffix(".png")
        browse(page, "--window-size=800,600", f"--screenshot={shot}", *words)
        with Image.open(shot) as image:
            corners.append(sum(image.convert("RGB").getpixel((5, 590))) / 3)
    light, dark = corners
    assert light > 200
    assert dark < 60
