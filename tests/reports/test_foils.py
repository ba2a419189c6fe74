"""Linear foils in the tables of pages: one line a run, whoever shares it, and beside every row."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.evaluation.records import heading
from harness.experiments.experiment import Experiment
from harness.experiments.requests import Point, SweepRequest, new_request, stages_of_row, study_called
from harness.experiments.scales import SCALES, scale
from harness.experiments.study import Ablation, Row
from harness.planning.task import task
from harness.store.records import Record
from harness.store.runs import Run, Store
from harness.system import plugins
from reports import foils
from reports.results import Result, load
from reports.sweep.page import Page
from reports.sweep.points import TriedPoint
from tests.conftest import experiment
from tests.reports.claimed import KL_WEIGHT
from tests.reports.test_answer import Made
from tests.reports.test_report import table

HEADS = {"rfd": "rFD", "psnr": "PSNR", "gfd": "gFD"}
PCA = [Record("rfd", 2172.84, 128, 0, "val", ""), Record("psnr", 17.981, 128, 0, "val", "")]
PCA += [Record("ssim", 0.3, 128, 0, "val", ""), Record("gfd", 2303.62, 160, 0, "prior", "")]
GAUSSIAN = [Record("psnr", 17.8, 128, 0, "val", ""), Record("gfd", 2265.4, 160, 0, "prior", "")]
ROWS = (Row("autoencoder", "autoencoder"), Row("KL-VAE", "kl_vae"), Row("masked", "image_masking"))


def finished(stage: str, of: Experiment, store: Store, records: Sequence[Record] = (), **facts: object) -> Run:
    """A finished run without work."""
    planned = task(stage, of)
    run = planned.run_in(store)
    run.begin(planned.identity, {})
    run.finish(list(records), facts)
    return run


def seeds_of(row: Row, seeds: int = 1, **fields: object) -> list[Experiment]:
    of = experiment(row.variant, **fields)
    return [dataclasses.replace(of, seed=seed) for seed in range(seeds)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Both foils of all rows, and no more."""
    made = Store(tmp_path)
    of = experiment("kl_vae")
    finished("pca", of, made, PCA, numbers=32)
    finished("linear_gaussian", of, made, GAUSSIAN, numbers=30)
    return made


# Lines


def test_rows_and_seeds_that_share_a_foil_have_one_line(store):
    results = load({row: seeds_of(row, seeds=2) for row in ROWS}, store)
    assert foils.lines(results, HEADS, "val") == [
        {"row": "*PCA, 32 numbers*", "rFD": "2172.8", "PSNR": "17.98"},
        {"row": "*linear-Gaussian at KL weight 0.001, 30 numbers*", "PSNR": "17.80"},
    ]
    assert foils.lines(results, HEADS, "val_unseen") == []


def test_foils_generate_by_gaussian_latents(store):
    results = load({row: seeds_of(row) for row in ROWS}, store)
    assert foils.lines(results, HEADS, "prior") == [
        {"row": "*PCA, 32 numbers, Gaussian latents*", "gFD": "2303.6"},
        {"row": "*linear-Gaussian at KL weight 0.001, 30 numbers, Gaussian latents*", "gFD": "2265.4"},
    ]


def test_without_a_kl_there_is_no_linear_gaussian(store):
    (line,) = foils.lines(load({ROWS[0]: seeds_of(ROWS[0])}, store), HEADS, "val")
    assert line["row"] == "*PCA, 32 numbers*"


@pytest.mark.parametrize("state", ["running", "failed"])
def test_a_foil_that_is_not_finished_has_no_line(state, store):
    task("pca", experiment("kl_vae")).run_in(store).set_state(state)
    results = load({ROWS[1]: seeds_of(ROWS[1])}, store)
    assert [line["row"] for line in foils.lines(results, HEADS, "val")] == [
        "*linear-Gaussian at KL weight 0.001, 30 numbers*"
    ]


def test_rows_of_other_numbers_or_weights_have_lines_of_their_own(tmp_path):
    made, rows = Store(tmp_path), {}
    for channels in (4, 8):
        for weight in (1e-3, 0.02):
            fields = {"tokenizer__channels": channels, KL_WEIGHT.replace(".", "__"): weight}
            row = Row(f"{channels} channels at {weight:g}", "kl_vae")
            (of,) = rows[row] = seeds_of(row, **fields)
            finished("pca", of, made, PCA, numbers=8 * channels)
            finished("linear_gaussian", of, made, GAUSSIAN, numbers=8 * channels - 2)
    assert [line["row"] for line in foils.lines(load(rows, made), HEADS, "val")] == [
        "*PCA, 32 numbers*",
        "*linear-Gaussian at KL weight 0.001, 30 numbers*",
        "*linear-Gaussian at KL weight 0.02, 30 numbers*",
        "*PCA, 64 numbers*",
        "*linear-Gaussian at KL weight 0.001, 62 numbers*",
        "*linear-Gaussian at KL weight 0.02, 62 numbers*",
    ]


@pytest.mark.parametrize("at", SCALES)
@pytest.mark.parametrize("name", [n for n in plugins.names("ablations") if isinstance(study_called(n), Ablation)])
def test_no_two_foils_of_a_page_have_one_title(name, at):
    """Their titles tell numbers, KL weight and data set, so nothing else may tell the foils of one table apart."""
    keys: dict[tuple[object, ...], set[str]] = {}
    for experiments in new_request(name, scale(at)).experiments().values():
        for e in experiments:
            for stage in set(foils.FOILS) & set(stages_of_row(e)):
                weight = e.tokenizer.gaussian.kl_weight if stage == "linear_gaussian" else None
                told = stage, e.tokenizer.tokens * e.tokenizer.channels, weight, e.data.argument
                keys.setdefault(told, set()).add(task(stage, e).key)
    assert keys
    assert all(len(found) == 1 for found in keys.values()), keys


# Beside the rows


PSNR, RFD = heading("psnr"), heading("rfd")


def compared(results: Sequence[Result]) -> list[dict[str, str]]:
    return table(f"## here\n{foils.comparison(results)}", "here")


def test_every_row_stands_beside_as_many_components_as_it_has_numbers_and_as_are_active(store):
    row = ROWS[1]
    (of,) = seeds_of(row)
    own = [Record("psnr", 16.5, 128, 40, "val", ""), Record("psnr", 9.0, 128, 40, "val_unseen", "")]
    finished("evaluation", of, store, [*own, Record("rfd", 2500.0, 128, 40, "val", "")])
    active = [Record("psnr", 15.2, 128, 40, "val", ""), Record("rfd", 2600.5, 128, 40, "val", "")]
    finished("pca_active", of, store, active, numbers=12)
    assert compared(load({row: [of], ROWS[2]: seeds_of(ROWS[2])}, store)) == [
        {
            "row": "KL-VAE",
            "numbers": "32",
            "active": "12",
            PSNR: "16.50",
            f"PCA, as many numbers: {PSNR}": "17.98",
            f"PCA, as many as are active: {PSNR}": "15.20",
            RFD: "2500.0",
            f"PCA, as many numbers: {RFD}": "2172.8",
            f"PCA, as many as are active: {RFD}": "2600.5",
        },
        {
            "row": "masked",
            "numbers": "32",
            "active": "–",
            PSNR: "–",
            f"PCA, as many numbers: {PSNR}": "17.98",
            f"PCA, as many as are active: {PSNR}": "–",
            RFD: "–",
            f"PCA, as many numbers: {RFD}": "2172.8",
            f"PCA, as many as are active: {RFD}": "–",
        },
    ]


def test_the_active_units_of_all_seeds_are_told(store):
    row = ROWS[1]
    seeds = seeds_of(row, seeds=4)
    for of, numbers in zip(seeds, (12, 7, 12), strict=False):  # the last one has not run
        finished("pca_active", of, store, numbers=numbers)
    (line,) = compared(load({row: seeds}, store))
    assert (line["row"], line["numbers"], line["active"]) == ("KL-VAE", "32", "12, 7, 12")


# In a sweep


class Tried(Made):
    @property
    def all(self) -> list[TriedPoint]:
        return self.given


@pytest.mark.parametrize(("rows", "first"), [(("KL-VAE",), "KL weight"), (("KL-VAE", "image masking"), "row")])
def test_foils_stand_below_the_points_of_a_sweep(rows, first, store):
    """They have no point: their title takes the place of the first column."""
    asked = SweepRequest("collapse", study_called("collapse"), scale("smoke"), objective="rfd", rows=rows)
    tried = []
    for row in rows:
        point = Point(row, ((KL_WEIGHT, 1e-3),))
        (of,) = asked.experiments_of(point)
        finished("pca", of, store, PCA, numbers=32)
        finished("evaluation", of, store, [Record("rfd", 2500.0, 128, 40, "val", "")])
        for stage in ("data", "components", "tokenizer", "reference"):
            finished(stage, of, store)
        tried.append(TriedPoint(point, len(tried), "done", "", load({asked.row_of(point): [of]}, store, asked.stages)))
    lines = table(f"## here\n{Page(Tried(asked, None, None, tried), '').table()}", "here")
    assert [line[RFD] for line in lines] == ["2500.0"] * len(rows) + ["2172.8"]
    assert lines[-1] == dict.fromkeys(lines[0], "–") | {first: "*PCA, 32 numbers*", RFD: "2172.8"}
    assert next(iter(lines[0])) == first
