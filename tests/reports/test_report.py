from __future__ import annotations

import copy
import csv
import importlib.util
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from harness.data.splits import open_split
from harness.experiments.published import PUBLISHED, published
from harness.experiments.requests import AblationRequest, study_called
from harness.experiments.scales import scale
from harness.experiments.study import Ablation
from harness.store.records import Record
from harness.store.runs import Store
from harness.system import plugins
from harness.system.files import read_json, write_json
from models.variants import VARIANTS, fields_of
from reports import tables
from reports.ablation import embeddings, figures
from reports.ablation.generation import COMPARISON_SETS
from reports.ablation.page import write
from reports.claims import table as claims
from reports.gates import gates
from reports.mixtures import PROVENANCE, mixtures
from reports.pages.rendering import MEANINGLESS, NO_BREAK
from reports.provenance import MEASURING
from reports.results import load
from reports.statistics import intervals
from tests.conftest import experiment

STUDIES = [n for n in plugins.names("ablations") if isinstance(study_called(n), Ablation)]


def asked_of(name: str, at: str, **options: object) -> AblationRequest:
    return AblationRequest(name, plugins.load("ablations", name, "study").study, scale(at), **options)


def table(page: str, title: str) -> list[dict[str, str]]:
    """The first Markdown table under a heading."""
    lines = page.split(f"## {title}\n", 1)[1].replace(NO_BREAK, " ").splitlines()
    lines = lines[next(i for i, line in enumerate(lines) if line.startswith("|")) :]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    end = next((i for i, line in enumerate(lines) if not line.startswith("|")), len(lines))
    return [dict(zip(cells[0], row, strict=True)) for row in cells[2:end]]


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_that_never_ran_has_a_page_that_says_so(name, tmp_path):
    asked = asked_of(name, "tiny")
    write(asked, Store(tmp_path / "runs"), tmp_path)
    page = (tmp_path / f"{name}-tiny.md").read_text()
    for row in asked.study.rows:
        assert f"{row.name} (seed 0): not run" in page
    assert "Nothing has run." in page
    assert {line.partition(":")[0] for line in gates_on(page)} == {"- not measured"}
    assert ("### Settings that differ from the paper's" in page) == bool(published(asked.study.published_table))


def gates_on(page: str) -> list[str]:
    """The lines of a page that say whether it can tell its rows apart."""
    page = page.replace(NO_BREAK, " ")
    folded = page.split("## Can this page tell its rows apart?\n", 1)[1].partition("</summary>\n\n")[2]
    return [line for line in folded.partition("\n\n")[0].splitlines() if line]


@pytest.mark.parametrize("name", STUDIES)
def test_a_page_lists_the_recipes_that_its_rows_do_not_follow(name, tmp_path):
    asked = asked_of(name, "tiny")
    write(asked, Store(tmp_path / "runs"), tmp_path)
    page = (tmp_path / f"{name}-tiny.md").read_text()
    peers = [row for row in asked.study.rows if VARIANTS[row.variant].recipe]
    below = page.partition("Their authors trained the published weights in another way:\n")[2]
    shown = table(f"## Recipes\n{below}", "Recipes") if peers else []
    assert [line["row"] for line in shown] == [row.name for row in peers]
    assert ("published with" in page) == bool(peers)
    assert [row for row in asked.study.rows if "name" in fields_of(row.variant)] == peers


@pytest.mark.parametrize("name", STUDIES)
def test_published_rows_exist(name):
    study = asked_of(name, "tiny").study
    known = published(study.published_table)
    assert all(row.published in known for row in study.rows if row.published)


def test_the_page_of_a_finished_row(runs, tmp_path):
    asked = asked_of("table5", "smoke", rows=("mactok",))
    shown = write(asked, Store(runs), tmp_path)
    path = next(tmp_path.glob("*-*.md"))
    page = path.read_text()
    assert str(path) in shown
    assert shown.startswith(MEANINGLESS) and page.splitlines()[2] == f"> **Note.** {MEANINGLESS}"
    assert "not run" not in page and "see Protocol" not in page
    for stored in load(asked.experiments(), Store(runs))[0].records("difficulty"):
        assert f"`{stored.protocol_id}`" in page
    (points,) = {r.n for r in load(asked.experiments(), Store(runs))[0].records("generator_snapshots")}
    assert f"Each point of gFD is over {points} images." in page
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", page)
    assert sorted(tmp_path / picture for picture in pictures) == sorted(tmp_path.rglob("*.png"))
    for picture in pictures:
        assert (tmp_path / picture).stat().st_size > 5000, picture
    has_umap = importlib.util.find_spec("umap") is not None
    assert len(pictures) >= 11 + has_umap
    assert ("For UMAP too, install its package" in page) != has_umap

    line, *foils = table(page, "Reconstruction")
    with (PUBLISHED / "published_ablations.csv").open() as file:
        printed = next(r for r in csv.DictReader(file) if r["table"] == "5" and r["row"] == "+ global alignment")
    assert list(line)[1] == tables.heading("kid")
    assert line["paper rFID"] == printed["rfid"]
    assert line["paper PSNR"] == printed["psnr"]
    result = load(asked.experiments(), Store(runs))[0]
    assert line["PSNR (dB) ↑"] == f"{result.value('psnr').value:.2f}"
    assert line["rFD ↓"] == f"{result.value('rfd').value:.1f}"
    optimum = result.done("linear_gaussian").fact("numbers")
    titles = {
        "pca": f"PCA, {result.experiment.tokenizer.tokens * result.experiment.tokenizer.channels} numbers",
        "linear_gaussian": f"linear-Gaussian at KL weight 0.001, {optimum} numbers",
    }
    assert [foil["row"] for foil in foils] == [f"*{title}*" for title in titles.values()]
    assert [foil["PSNR (dB) ↑"] for foil in foils] == [f"{result.value('psnr', 'val', of).value:.2f}" for of in titles]
    assert gates_on(page) == [f"- {gate}." for gate in gates([result])]
    assert table(page, "Can this page tell its rows apart?")[0]["here"] == "256 of `embedded` at 32 px"
    (beside,) = table(page, "Beside linear models")
    assert beside["active"] == str(result.done("pca_active").fact("numbers"))
    assert beside["PCA, as many as are active: PSNR (dB) ↑"] == f"{result.value('psnr', 'val', 'pca_active').value:.2f}"
    for stage in MEASURING:
        for record in result.records(stage):
            assert record.protocol in page
            assert f"N = {record.n}" in page
    generated = table(page, "Generation")
    assert list(generated[0])[1] == tables.heading("gkid")
    assert generated[0]["paper gFID"] == printed["gfid"]
    assert generated[0]["paper IS"] == printed["is"]
    assert generated[0]["gFD ↓"] == f"{result.value('gfd', 'guided', 'generation').value:.1f}"
    assert [line["row"] for line in generated[1:3]] == [f"*{title}, Gaussian latents*" for title in titles.values()]
    assert generated[1]["gFD ↓"] == f"{result.value('gfd', 'prior', 'pca').value:.1f}"
    compared = [line["row"] for line in generated[3:]]
    assert sorted(compared) == sorted(f"*{name} (N = 128)*" for name in COMPARISON_SETS.values())
    assert "In the paper each row has the best scale of a grid." in page
    assert "Here all rows have the same guidance; in the paper each row has its own best." in page
    assert "One seed: no interval" in page
    assert "Differences from the base" not in page  # its base was not asked for
    claimed = {line["claim"]: line for line in table(page, "What the paper claims")}
    assert {line["verdict"] for line in claimed.values()} == {"no data"}
    assert claimed["global alignment lowers gFID (Table 5)"]["paper"] == "-0.17 (-5.1%)"
    assert claimed["global alignment lowers gFID (Table 5)"]["here"] == "no row '+ semantic mask' here"
    assert result.runs["generation"].key in page
    assert "OpenMoji" in page
    assert "CC BY-SA 4.0" in page


def test_where_the_paper_has_no_such_table_nothing_is_left_open_for_it(runs, tmp_path):
    """The row is there: GAN off is the MacTok of every table."""
    asked = AblationRequest("gan", study_called("gan"), scale("smoke"), rows=("MacTok",))
    assert not re.search("paper [rgIPS]", write(asked, Store(runs), tmp_path))
    assert "beside the paper" not in (tmp_path / f"{asked.page}.md").read_text()
    write(AblationRequest("table5", study_called("table5"), scale("smoke"), rows=("mactok",)), Store(runs), tmp_path)
    assert "beside the paper" in next(tmp_path.glob("table5*.md")).read_text()


CHANGED = {
    "a field": ({"fields": (("masking.max_ratio", "0.5"),)}, "`masking.max_ratio=0.5`"),
    "a folder": ({"data": "folder:/pictures"}, "images of `folder`"),
    "a plug-in": ({"data": "mine"}, "images of `mine`"),
}


@pytest.mark.parametrize("name", CHANGED)
def test_what_the_user_changed_has_no_numbers_of_the_paper(name, tmp_path, monkeypatch):
    parts, told = CHANGED[name]
    package = "harness.data.sets"
    monkeypatch.setitem(plugins.USERS, package, {"mine": plugins.load(package, "embedded", "data set")})
    monkeypatch.setattr(plugins, "names", plugins.names.__wrapped__)
    asked = asked_of("table5", "smoke", **parts)
    assert asked.changed == (told,) and asked.printed == {}
    write(asked, Store(tmp_path / "runs"), tmp_path)
    page = next(tmp_path.glob("table5*.md")).read_text()
    assert f"Changed from the study as it is declared: {told}. The paper has no numbers for that" in page
    assert not re.search("paper [rgIPS]", page) and "beside the paper" not in page
    assert {line["paper"] for line in table(page, "What the paper claims")} == {"–"}


def test_images_of_ours_are_no_change(tmp_path):
    for data in (None, "embedded", "imagenet"):
        asked = asked_of("table5", "tiny", data=data)
        assert asked.changed == () and asked.printed


def test_a_report_needs_neither_torch_nor_the_data(runs, tmp_path):
    code = "import sys, harness.report as r; r.main(sys.argv[1:]); sys.exit('torch' in sys.modules)"
    words = ["table5", "--scale", "smoke", "--rows", "mactok", "--runs", str(runs), "--out", str(tmp_path)]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_two_seeds_have_a_mean_and_a_deviation(runs, tmp_path):
    asked = AblationRequest(
        "table5", plugins.load("ablations", "table5", "study").study, scale("smoke"), rows=("mactok",), seeds=2
    )
    write(asked, Store(runs), tmp_path)
    page = next(tmp_path.glob("*-*.md")).read_text()
    assert "Numbers are means over 2 seeds ± half of their 95 % t intervals." in page
    assert "(seed 1): not run" in page


@dataclass(frozen=True)
class Seed:
    """What a table asks of a result."""

    seed: int
    found: float | None
    interval: tuple[float, float] | None = None

    @property
    def experiment(self) -> SimpleNamespace:
        return SimpleNamespace(seed=self.seed, evaluation=experiment().evaluation)

    def value(self, metric: str, split: str, stage: str) -> Record | None:
        if self.found is None:
            return None
        return Record(metric, self.found, 100, 1, split, "as it is", deviation=0.5, interval=self.interval)


def seeds_of(*values: float | None) -> list[Seed]:
    return [Seed(seed, value) for seed, value in enumerate(values)]


def test_intervals_are_students():
    assert intervals.half_width([1.0, 2.0, 3.0]) == pytest.approx(2.4841, abs=1e-4)  # t of 2 degrees: 4.3027
    assert intervals.half_width([5.0]) is None


def test_cells_say_how_much_is_known():
    assert tables.cell(seeds_of(11.0, 12.0, 13.0), "gfd", "samples") == "12.0 ± 2.5"
    assert tables.cell(seeds_of(1.0, 2.0, 3.0), "gfd", "samples") == "2.0 [0.0, 4.5]"
    assert tables.cell(seeds_of(1.0), "gfd", "samples") == "1.0 ± 0.5"
    assert tables.cell(seeds_of(1.0, None, 3.0), "gfd", "samples") == "2.0 [0.0, 14.7] (2 of 3 seeds)"
    assert tables.cell(seeds_of(None), "gfd", "samples") == "–"
    with_interval = [Seed(seed, 1.0 + seed, interval=(0.75, 1.26)) for seed in range(2)]
    assert tables.cell(with_interval[:1], "gfd", "samples") == "1.0 ± 0.5 [0.8, 1.3]"
    assert tables.cell(with_interval, "gfd", "samples") == "1.5 [0.0, 7.9]"


@pytest.mark.parametrize("name", STUDIES)
def test_claims_and_differences_stand_on_the_page_of_a_study(name, tmp_path):
    asked = asked_of(name, "tiny")
    write(asked, Store(tmp_path / "runs"), tmp_path)
    page, study = (tmp_path / f"{name}-tiny.md").read_text(), asked.study
    if study.claims:
        lines = table(page, "What the paper claims")
        assert [line["claim"] for line in lines] == [f"{claim.says} ({claim.source})" for claim in study.claims]
        assert {line["verdict"] for line in lines} == {"no data"}
        assert claims.EXPLAINED in page
    assert ("What the paper claims" in page) == bool(study.claims)
    based = [(row.name, row.base) for row in study.rows if row.base]
    if based:
        pairs = [(line["row"], line["minus"]) for line in table(page, "Differences from the base")]
        assert pairs[: len(based)] == based  # then chains of bases, from their end to their beginning
        assert {row for row, _ in pairs[len(based) :]}.isdisjoint(base for _, base in based)
        assert {base for _, base in pairs[len(based) :]}.isdisjoint(row for row, _ in based)
    assert ("Differences from the base" in page) == bool(based)


def test_a_page_says_which_provenance_its_rows_mix(runs):
    result = load(
        {asked_of("table5", "smoke").study.rows[-1]: [experiment("mactok")]},
        Store(runs),
    )[0]
    assert not [line for line in mixtures([result]) if "mix" in line]


def test_hidden_patches_are_grey_and_no_others():
    images = np.zeros((2, 8, 8, 3), np.uint8)
    masks = np.zeros((2, 4), bool)
    masks[0, 1] = True
    shown = figures.with_hidden_patches(images, masks)
    assert (shown[0, :4, 4:] == 128).all()
    assert shown.sum() == 128 * 16 * 3


def test_principal_components_hold_the_variance():
    x = np.random.default_rng(0).normal(size=(200, 5)) * [9, 3, 0.1, 0.1, 0.1]
    projected, share = embeddings.principal(x)
    assert share > 0.99
    assert projected.var(0) == pytest.approx([81, 9], rel=0.3)


def test_semantic_masks_find_the_object(runs):
    """At m = the object's share, hidden patches hold at least 1.8 times as much object as random ones."""
    store = Store(runs)
    path = next(Path(runs).glob("difficulty/*/result.json"))
    found = {r.metric: r for r in store.run("difficulty", path.parent.name).records()}
    semantic, random = found["semantic_precision"], found["random_precision"]
    assert semantic.value >= 1.8 * random.value
    masks = open_split(next(Path(runs).glob("data/*/")), "train").masks[: random.n]
    assert random.value == pytest.approx(100 * masks.mean())


def test_a_folder_of_images_runs_like_the_embedded_ones(runs, tmp_path):
    from PIL import Image

    data = next(Path(runs).glob("data/*/train_images.npy"))
    images, labels = np.load(data), np.load(data.with_name("train_labels.npy"))
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        folder = tmp_path / "images" / f"class{label % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{number}.png")
    words = ["table5", "--scale", "smoke", "--rows", "autoencoder", "--data", f"folder:{tmp_path / 'images'}"]
    words += ["--set", "training.steps=6", "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out"), "--quiet"]
    words += ["--set", "evaluation.kid_subset_images=20"]
    done = subprocess.run([sys.executable, "-m", "harness.ablate", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    page = next((tmp_path / "out").glob("*-*.md")).read_text()
    assert "val_unseen" not in page
    assert "3 classes" in page


@pytest.mark.parametrize("name", PROVENANCE)
def test_a_page_says_what_its_rows_mix(name, runs, tmp_path):
    shutil.copytree(runs, tmp_path / "runs")
    path = next((tmp_path / "runs").glob("tokenizer/*/status.json"))
    status = read_json(path)
    again = copy.deepcopy(status["attempts"][0])
    again["environment"][name] = 99 if isinstance(again["environment"][name], int) else "another"
    write_json(path, {**status, "attempts": [*status["attempts"], again]})
    asked = asked_of("table5", "smoke", rows=("mactok",))
    write(asked, Store(tmp_path / "runs"), tmp_path)
    assert f"The rows mix {PROVENANCE[name]}: " in next(tmp_path.glob("*-*.md")).read_text()


def test_stages_may_get_what_they_need(runs, tmp_path):
    """Training in four processes and evaluation in one is no mixture, as long as all rows have it so."""
    shutil.copytree(runs, tmp_path / "runs")
    path = next((tmp_path / "runs").glob("tokenizer/*/status.json"))
    status = read_json(path)
    status["attempts"][0]["environment"] |= {"world_size": 4, "threads": 64, "device": "cuda"}
    write_json(path, status)
    asked = asked_of("table5", "smoke", rows=("mactok",))
    assert not [line for line in mixtures(load(asked.experiments(), Store(tmp_path / "runs"))) if "mix" in line]
