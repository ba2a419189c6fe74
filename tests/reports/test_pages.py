"""What stands in every page: tables, the answer, contents, the index; and the forms that a page has beside Markdown."""

from __future__ import annotations

import csv
import re
from html.parser import HTMLParser

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.samplers import RandomSampler

from harness.evaluation.records import heading
from harness.experiments.claims import Difference, of_paper
from harness.experiments.objectives import objectives
from harness.experiments.requests import AblationRequest, Point, SweepRequest, study_called
from harness.experiments.scales import scale
from harness.experiments.study import Ablation, Row
from harness.hub import card
from harness.store.records import Record
from harness.store.runs import Store
from harness.system import plugins, terminal
from harness.system.errors import Mistake
from harness.system.texts import cells_of
from models.variants import VARIANTS
from reports import figures, provenance, styles
from reports.ablation.page import Page, write
from reports.pages import index, rendering, site
from reports.pages.rendering import NO_BREAK
from reports.provenance import Provenance
from reports.results import load
from reports.sweep import figures as sweep_figures
from reports.tables import STATUS_NOTE, markdown, notes
from tests.reports.claimed import CLAIMED, KL_WEIGHT, given

ABLATIONS = [name for name in plugins.names("ablations") if isinstance(study_called(name), Ablation)]
NAMES = (
    "a | b",
    "`code`",
    "<script>alert(1)</script>",
    "x" * 300,
    "line\nbreak",
    "[link](javascript:x)",
    "100 % & $5_{}",
)
MOST_WORDS = 30  # of a sentence, so that nobody has to read it twice
VOID = {"meta", "br", "wbr", "img", "hr"}


def test_a_column_of_zeros_is_told_once():
    lines = [
        {"row": name, "precision": "0.000 ± 0.000", "gFD": "10.0", "paper": "–", "status": "active"} for name in "ab"
    ]
    text = markdown([*lines, {"row": "*a foil*", "gFD": "1"}])
    assert text.splitlines()[0].replace(" ", "") == "|row|gFD|paper|status|"
    assert text.endswith(f"In every row: precision = 0.000{NO_BREAK}±{NO_BREAK}0.000.")
    differing = markdown([*lines, {"row": "*a foil*", "precision": "0.5"}])
    assert "precision" in differing.splitlines()[0]
    assert "precision" in markdown(lines[:1]).splitlines()[0]  # one row alone


def test_a_number_does_not_break_before_its_interval():
    text = markdown(
        [{"row": "a", "x": "-1.5 ± 0.2", "y": "1512.3 [1478.9, -1545.8]", "z": "a sentence [of words, two]"}]
    )
    assert f"-1.5{NO_BREAK}±{NO_BREAK}0.2" in text
    assert f"1512.3{NO_BREAK}[1478.9,{NO_BREAK}-1545.8]" in text
    assert "a sentence [of words, two]" in text


def test_no_number_of_a_page_breaks_before_its_deviation(tmp_path):
    study = Ablation(title="A", question="Is it 1.5 ± 0.2, or ± half?", rows=(Row("a", "kl_vae"),))
    write(AblationRequest("own", study, scale("smoke")), Store(tmp_path / "runs"), tmp_path)
    assert f"Is it 1.5{NO_BREAK}±{NO_BREAK}0.2, or ± half?" in (tmp_path / "own-smoke.md").read_text()


def test_contents_link_to_every_heading(tmp_path):
    request = AblationRequest("table5", study_called("table5"), scale("smoke"))
    path = rendering.write_page(
        "ablation/page.md.j2",
        tmp_path / "page.md",
        page=Page(request, _not_run(request, tmp_path)),
        name="page",
        drawn=_Nothing(),
    )
    text = path.read_text()
    headings = rendering.HEADING.findall(text)
    links = re.findall(r"\[([^]]+)\]\(#([^)]+)\)", text)
    assert [name for name, _ in links] == headings
    assert [to for _, to in links] == [rendering.anchor(heading) for heading in headings]
    assert headings[0] == rendering.ANSWER
    assert rendering.answer_of(text)
    assert "mean nothing" in text
    assert "\n\n\n" not in text


def _not_run(request, folder):
    from harness.store.runs import Store
    from reports.results import load

    return load(request.experiments(), Store(folder / "runs"))


class _Nothing(dict):
    """No figure is drawn."""

    def __getattr__(self, name: str) -> bool:
        return False

    def __missing__(self, name: str) -> bool:
        return False


def test_the_index_has_every_page_with_its_answer(tmp_path):
    (tmp_path / "b-smoke.md").write_text("# B (smoke)\n\n## The answer\n\n- **Holds here**: it does.\n- More.\n")
    (tmp_path / "a-smoke.md").write_text("# A\n\n## The answer\n\n- No row is finished.\n")
    (tmp_path / "notes.md").write_text("# Notes of a user\n")
    text = index.write(tmp_path).read_text()
    assert text == index.write(tmp_path).read_text()
    assert text.splitlines()[2:] == [
        "- [A](a-smoke.md): No row is finished.",
        "- [B (smoke)](b-smoke.md): **Holds here**: it does.",
    ]


def test_the_index_tells_pages_of_one_title_apart(tmp_path):
    text = "# B\n\n{}\n\n## The answer\n\n- It does.\n\nMade by `python -m harness.ablate b{}`. One seed.\n"
    for name, preface, options in (
        ("b-tiny", "", ""),
        ("b-tiny-01", "", " --rows 'a,+ b'"),
        ("b-smoke", rendering.MEANINGLESS, " --scale smoke"),
    ):
        (tmp_path / f"{name}.md").write_text(text.format(preface, options))
    assert index.write(tmp_path).read_text().splitlines()[2:] == [
        f"- [B](b-smoke.md) (`b --scale smoke`): {rendering.MEANINGLESS}",
        "- [B](b-tiny-01.md) (`b --rows 'a,+ b'`): It does.",
        "- [B](b-tiny.md) (`b`): It does.",
    ]


@pytest.mark.parametrize("name", ABLATIONS)
def test_results_say_what_the_status_and_what_active_units_count(name, tmp_path):
    request = AblationRequest(name, study_called(name), scale("tiny"))
    write(request, Store(tmp_path / "runs"), tmp_path)
    page = (tmp_path / f"{request.page}.md").read_text()
    has_kl = any(e.tokenizer.gaussian.on for (e, *_) in request.experiments().values())
    assert (STATUS_NOTE in page.partition("## Results\n")[2].partition("\n## ")[0]) == has_kl


@pytest.mark.parametrize("template", sorted(rendering.TEMPLATES.rglob("*.md.j2")), ids=lambda path: path.parent.name)
def test_sentences_are_short(template):
    text = re.sub(r"\{%.*?%\}", "\n\n", template.read_text(encoding="utf-8"), flags=re.DOTALL)
    text = re.sub(r"\{\{.*?\}\}", "x", text, flags=re.DOTALL)
    for part in re.split(r"\n\s*\n", text):
        for sentence in re.split(r"(?<=[.:?;])x?\s", part):
            assert len(sentence.split()) <= MOST_WORDS, sentence


@pytest.mark.parametrize("name", ABLATIONS)
def test_a_page_says_what_rows_with_a_plus_add_to(name, tmp_path):
    request = AblationRequest(name, study_called(name), scale("tiny"))
    told = Page(request, _not_run(request, tmp_path)).about_rows.additions
    added = [row for row in request.study.rows if row.name.startswith("+") and row.base]
    assert bool(told) == bool(added)
    assert all(f"`{row.name}` to `{row.base}`" in told for row in added)
    if name == "table5":
        assert [row.base for row in added] == ["KL-VAE", *(row.name for row in added[:-1])]  # they add up
        assert told.endswith("`+ global alignment` is the variant `mactok`.")


class Checker(HTMLParser):
    """Fails on elements that do not nest, and on pictures without alternative text; collects ids and links."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.kinds: list[str] = []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.kinds.append(tag)
        self.ids += [given["id"]] if "id" in given else []
        self.links += [given["href"]] if "href" in given else []
        assert tag != "img" or given["alt"]
        assert not any(name.startswith("on") for name in given)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def _page(tmp_path, *names):
    lines = [{"row": name, "rFD ↓": "1.0 ± 0.5", "n": str(k)} for k, name in enumerate(names)]
    results = f"## Results\n\n{markdown(lines)}"
    folded = (
        f"<details><summary>more</summary>\n\n## Folded\n\n![A picture](page/a.png)\n\n{markdown(lines)}\n\n</details>"
    )
    text = f"# A page (tiny)\n\n[Results](#results) [other](other-tiny.md)\n\n{results}\n\n{folded}\n"
    path = tmp_path / "page.md"
    path.write_text(text)
    return path


def test_a_page_becomes_html_that_nests_and_runs_nothing_of_a_name(tmp_path):
    html = site.write_html(_page(tmp_path, *NAMES)).read_text()
    checker = Checker()
    checker.feed(html)
    assert checker.open == []
    assert checker.kinds.count("script") == 1
    assert {"results", "folded"} <= set(checker.ids)
    assert {"index.html", "#results", "other-tiny.html"} <= set(checker.links)
    assert not [link for link in checker.links if ":" in link]
    assert "http" not in re.sub(r"<!DOCTYPE.*?>", "", html)
    assert checker.kinds.count("table") == 2


def test_all_pages_but_their_index_link_to_it(tmp_path):
    _page(tmp_path, "plain")
    (tmp_path / "page.md").write_text(f"{(tmp_path / 'page.md').read_text()}\n## The answer\n\n- It does.\n")
    home = site.write_site(tmp_path)
    links = {}
    for path in (home, tmp_path / "page.html"):
        checker = Checker()
        checker.feed(path.read_text())
        links[path.name] = checker.links
    assert "index.html" in links["page.html"]
    assert links["index.html"] == ["page.html"]


def test_a_head_breaks_within_the_name_of_a_stage_and_not_before_its_arrow(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"# A page\n\n{markdown([{'row': 'a_b', 'rFD ↓': '1.0', 'teacher_features': '2'}])}\n")
    html = site.write_html(page).read_text()
    assert f">rFD{NO_BREAK}↓</th>" in html and ">teacher_<wbr>features</th>" in html and ">a_b</td>" in html


def test_a_name_is_one_cell_on_the_page_and_whole_in_the_terminal(monkeypatch):
    text = markdown([{"row": name, "n": "< 0.5"} for name in NAMES])
    assert [cells_of(line)[0] for line in text.splitlines()[2:]] == [name.replace("\n", "\\n") for name in NAMES]
    assert {len(cells_of(line)) for line in text.splitlines()} == {2}
    assert "| < 0.5 " in text  # no tag
    headed = markdown([dict.fromkeys(NAMES, "1")]).splitlines()
    assert cells_of(headed[0]) == [name.replace("\n", "\\n") for name in NAMES]
    assert {len(cells_of(line)) for line in headed} == {len(NAMES)}
    monkeypatch.setenv("COLUMNS", "400")
    shown = terminal.fitted(text)
    assert all(name.replace("\n", "\\n") in shown for name in NAMES)


def test_the_title_of_a_metric_is_one_cell(tmp_path, monkeypatch):
    metric = plugins.load("harness.evaluation.metrics", "psnr", "metric")
    monkeypatch.setattr(metric, "title", "my | sharp")
    monkeypatch.setattr(metric, "unit", "a | b")
    page = tmp_path / "page.md"
    page.write_text(f"# A page\n\n## Results\n\n{markdown([{'row': 'one', heading('psnr'): '1.0'}])}\n")
    assert "<th>my | sharp (a | b)" in re.sub("<th [^>]*>", "<th>", site.write_html(page).read_text())
    (path,), (tex,) = site.write_csv(page), site.write_latex(page)
    with path.open(newline="") as file:
        assert list(csv.reader(file)) == [["row", "my | sharp (a | b) ↑"], ["one", "1.0"]]
    assert "row & my | sharp (a | b) $\\uparrow$" in tex.read_text()
    shown = card.number(Record("psnr", 1.0, 4, 0, "val", "", None, None, "lite-0"))
    assert len(cells_of(f"| {shown['title']} | 1.0 |")) == 2


@pytest.mark.parametrize("name", ["shuffled_error", "dropped_token"])
def test_a_rise_is_called_a_rise(name):
    """The texts of their protocols name the error alone, and stay as they are in the ids of earlier numbers."""
    result = given("row", 0, **{name: 1.0})
    (line,) = Provenance([result]).protocols()
    (text,) = card.protocols(tuple(result.records("evaluation")))
    assert ", rise of the squared error if " in line and ", rise of the squared error if " in text


@pytest.mark.parametrize(("source", "heading"), [("our guess", "Claims"), ("Table 3", "What the paper claims")])
def test_only_what_names_the_paper_is_its_claim(source, heading, tmp_path):
    claim = Difference("one is better", source, "rfd", "one", "other", side=-1)
    study = Ablation(title="Mine", question="Is it?", rows=(Row("one", "kl_vae"),), claims=(claim,))
    write(AblationRequest("mine", study, scale("smoke")), Store(tmp_path / "runs"), tmp_path)
    headings = re.findall("^## (.*[Cc]laims.*)$", (tmp_path / "mine-smoke.md").read_text(), re.MULTILINE)
    assert headings == [heading]


def test_all_claims_of_ours_name_the_paper():
    assert [claim.source for _, claim in CLAIMED.values() if not of_paper(claim.source)] == []


def test_words_of_a_study_run_nothing(tmp_path):
    """Title, question, rows, claims and notes come from a user's file; in the committed studies none is a tag."""
    words = "a | b `<i>` <script>alert(1)</script> <img src=x onerror=alert(1)>"
    claim = Difference(words, words, "rfd", words, words, side=-1)
    study = Ablation(title=words, question=words, rows=(Row(words, "kl_vae"),), notes=(words,), claims=(claim,))
    page = tmp_path / "hostile-smoke.md"
    write(AblationRequest("hostile", study, scale("smoke")), Store(tmp_path / "runs"), tmp_path)
    checker = Checker()
    checker.feed(site.write_html(page).read_text())
    assert checker.open == []
    assert checker.kinds.count("script") == 1
    assert "img" not in checker.kinds
    lines = page.read_text().splitlines()
    heads = [k for k, line in enumerate(lines) if line.startswith("|:")]
    assert heads and all(len(cells_of(lines[k])) == len(cells_of(lines[k + 1])) for k in heads)


@pytest.mark.parametrize("name", ["two\nlines", "a\tb", "\x1b[31mred"])
def test_a_row_whose_name_is_no_line_is_refused(name):
    with pytest.raises(Mistake, match="one line that can be printed"):
        Row(name, "kl_vae")


def test_the_tables_of_a_page_become_files(tmp_path):
    page = _page(tmp_path, "plain", *NAMES[:3])
    written = site.write_csv(page)
    assert [path.name for path in written] == ["results.csv", "folded.csv"]
    with written[0].open(newline="") as file:
        head, *lines = csv.reader(file)
    assert head == ["row", "rFD ↓", "n"]
    assert [line[0] for line in lines] == ["plain", "a | b", "code", "<script>alert(1)</script>"]
    for path in site.write_latex(page):
        text = path.read_text()
        assert text.count("\\toprule") == text.count("\\bottomrule") == 1
        assert not re.search(r"(?<!\\)[#%_]", text)


@pytest.mark.parametrize("template", sorted(rendering.TEMPLATES.rglob("*.md.j2")), ids=lambda path: path.parent.name)
def test_every_table_of_a_page_has_a_heading_of_its_own(template):
    """So the file of a table is named by what it holds, whichever tables stand before it."""
    text = template.read_text(encoding="utf-8")
    for section in re.split(r"^##+ ", text, flags=re.MULTILINE)[1:]:
        tables = re.findall(r"\{\{ [\w.]*(?:table\w*|departures|ranges)(?:\(.*?\))? \}\}", section)
        assert len(tables) <= 1, (section.partition("\n")[0], tables)


@pytest.mark.parametrize("name", plugins.names("ablations"))
def test_notes_speak_of_rows_on_the_page(name):
    study = study_called(name)
    rows = [row.name for row in study.rows]
    assert notes(study, rows) == list(study.notes)
    for row in rows:
        for note in notes(study, [row]):
            told = [of for of in rows if re.search(rf"(?<![\w-])`?{re.escape(of)}(?![\w-])", note)]
            assert set(told) <= {row}, note


def test_additions_speak_of_rows_on_the_page(tmp_path):
    request = AblationRequest("table5", study_called("table5"), scale("smoke"))
    results = _not_run(request, tmp_path)
    assert "`+ semantic mask` to `+ local alignment`" in Page(request, results).about_rows.additions
    some = [r for r in results if r.row.name in ("+ local alignment", "+ random mask", "+ global alignment")]
    told = Page(request, some).about_rows.additions
    assert "`+ local alignment` to `+ random mask`" in told
    assert "semantic" not in told and "`+ global alignment` to" not in told
    assert Page(request, some[-1:]).about_rows.additions == "`+ global alignment` is the variant `mactok`."


def test_the_cost_of_many_stages_has_as_many_columns_as_other_tables(monkeypatch):
    stages = {f"stage_{k}": [float(k), 10.0 * k] for k in range(20)}
    frame = pd.DataFrame(stages, index=pd.Index(["a", "b | c"], name="row"))
    monkeypatch.setattr(provenance, "costs", lambda _: frame.assign(sum=frame.sum(axis=1)))
    head, _, *lines = provenance.Provenance([]).cost_table().splitlines()
    assert cells_of(head) == ["row", "stage_16", "stage_17", "stage_18", "stage_19", "other stages", "sum"]
    assert [sum(map(float, cells[1:6])) == float(cells[6]) for line in lines[:2] if (cells := cells_of(line))] == [
        True
    ] * 2
    assert lines[-1] == f"Other stages: {', '.join(f'stage_{k}' for k in range(16))}."
    few = frame[["stage_1", "stage_2"]]
    monkeypatch.setattr(provenance, "costs", lambda _: few.assign(sum=few.sum(axis=1)))
    assert "ther stages" not in provenance.Provenance([]).cost_table()


@pytest.mark.parametrize("objective", ["probe", "gfd"])
def test_the_configuration_has_no_fields_of_what_is_not_trained(objective, tmp_path):
    request = SweepRequest("kl_weight", study_called("kl_weight"), scale("smoke"), objective=objective)
    point = Point("KL-VAE", ((KL_WEIGHT, 1e-3),))
    found = load({request.row_of(point): request.experiments_of(point)}, Store(tmp_path), request.stages)
    told = Provenance(found).configuration()
    assert "training.steps = " in told
    for group in ("generator.", "sampling."):
        assert any(line.startswith(group) for line in told.splitlines()) == (objective == "gfd")


def test_latex_shows_signs_that_its_fonts_lack(tmp_path):
    (tmp_path / "page.md").write_text("## T\n\n| row | gFD ↓ |\n|:--|:--|\n| a_b | 1.0\u00a0±\u00a00.5 |\n")
    (path,) = site.write_latex(tmp_path / "page.md")
    text = path.read_text()
    assert r"gFD $\downarrow$" in text
    assert r"a\_b & 1.0 $\pm$ 0.5 \\" in text


def test_a_variant_has_one_colour_on_every_page():
    alone = {name: styles.styles({"row": name})["row"].colour for name in VARIANTS}
    together = styles.styles({name: name for name in VARIANTS})
    assert {name: style.colour for name, style in together.items()} == alone
    assert len(set(alone.values())) == len(alone)
    assert styles.styles({"mine": "a variant of a user's"})["mine"].colour not in alone.values()


def test_rows_of_one_variant_have_colours_of_their_own():
    colours = [style.colour for style in styles.styles({f"M = {k}": "image_masking" for k in range(6)}).values()]
    assert len(set(colours)) == 6
    assert colours[0] == styles.styles({"alone": "image_masking"})["alone"].colour


@pytest.mark.parametrize(
    "names", [("one", "two"), tuple(f"a row with a rather long name, number {k}" for k in range(7)), ("y" * 300, "z")]
)
def test_no_legend_is_wider_than_its_figure(names, tmp_path):
    drawing, axis = figures.figure(5.0, 3.0)
    for k, name in enumerate(names):
        axis.plot([0, 1], [k, k], label=name)
    figures.legend(drawing)
    figures.save(drawing, tmp_path / "a.png")
    (drawn,) = drawing.legends
    extent = drawn.get_window_extent()
    assert drawing.bbox.x0 <= extent.x0
    assert extent.x1 <= drawing.bbox.x1


def test_seeds_are_a_mean_with_their_range():
    _, axis = figures.figure(3, 3)
    style = styles.styles({"row": "kl_vae"})["row"]
    seeds = [pd.Series([1.0, 2.0], [0, 100]), pd.Series([3.0, np.nan], [0, 100])]
    assert styles.draw_seeds(axis, seeds, style, "row")
    (line,) = axis.lines
    assert line.get_xydata().tolist() == [[0, 2.0], [100, 2.0]]
    (band,) = axis.collections
    assert band.get_paths()[0].get_extents().bounds == (0, 1.0, 100, 2.0)
    assert not styles.draw_seeds(axis, [pd.Series(dtype=float)], style, "empty")


@pytest.mark.parametrize(("gridded", "several"), [(False, False), (False, True), (True, True)])
def test_a_search_is_drawn_and_of_a_grid_its_front_alone(gridded, several, tmp_path):
    wanted = objectives("rfd,kl" if several else "rfd")
    study = optuna.create_study(directions=[o.direction for o in wanted], sampler=RandomSampler(seed=0))
    for k in range(5 if gridded else 0):
        study.enqueue_trial({"M": k / 5, "share": 0.5})

    def measure(trial: optuna.Trial) -> list[float]:
        m, share = trial.suggest_float("M", 0, 1), trial.suggest_float("share", 1e-3, 1, log=True)
        return [(m - 0.4) ** 2 + share, m][: len(wanted)]

    study.optimize(measure, n_trials=5)
    drawn = sweep_figures.of_search(study, wanted, tmp_path)
    expected = set() if gridded else {"history", "slices", "importances"}
    assert {name for name, there in drawn.items() if there} == expected | ({"front"} if several else set())
    assert {path.stem for path in tmp_path.glob("*.png")} == {name for name, there in drawn.items() if there}
