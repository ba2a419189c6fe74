from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from harness.experiments.outside_rows import OutsideRow
from harness.experiments.requests import new_request
from harness.experiments.scales import scale
from harness.experiments.study import Row
from harness.store.runs import Store
from reports.ablation import curves
from reports.ablation.figures import of_evaluation
from reports.ablation.page import Page
from reports.results import PICTURES, Result, load, made_from, pictured
from tests.conftest import experiment


def results(store: Store, with_images: list[tuple[str, int]]) -> list[Result]:
    """Two rows with two seeds each, of which these have their images in the store; the others came as text."""
    made = []
    for name in ("KL-VAE", "mactok"):
        for seed in (0, 1):
            run = store.run("evaluation", f"{name}{seed}")
            run.begin({"stage": "evaluation"}, {})
            np.savez(run.folder / PICTURES, val=np.full((1, 2), seed))
            run.finish([], {"units": 1})
            if (name, seed) not in with_images:
                (run.folder / PICTURES).unlink()
            e = dataclasses.replace(experiment("kl_vae"), seed=seed)
            made.append(Result(Row(name, "kl_vae"), e, {"evaluation": run}))
    return made


@pytest.mark.parametrize(
    ("with_images", "seed", "rows"),
    [
        ([("KL-VAE", 0), ("mactok", 0), ("mactok", 1)], 0, ["KL-VAE", "mactok"]),
        ([("KL-VAE", 1), ("mactok", 1)], 1, ["KL-VAE", "mactok"]),
        ([("KL-VAE", 1), ("mactok", 0)], 0, ["mactok"]),
        ([], 0, []),
    ],
)
def test_pictures_are_of_the_first_seed_that_has_them(with_images, seed, rows, tmp_path: Path):
    found = results(Store(tmp_path), with_images)
    assert [(r.row.name, r.experiment.seed) for r in pictured(found)] == [("KL-VAE", seed), ("mactok", seed)]
    arrays = of_evaluation(found, PICTURES)
    assert list(arrays) == rows
    assert all((stored["val"] == seed).all() for stored in arrays.values())


@pytest.mark.parametrize(
    ("with_images", "told"),
    [
        ([("KL-VAE", 0), ("mactok", 0)], ""),
        ([("KL-VAE", 1), ("mactok", 0)], "The store has numbers, but no images of KL-VAE."),
        ([], "The store has numbers, but no images of these rows."),
    ],
)
def test_a_page_names_the_rows_that_its_pictures_lack(with_images, told, tmp_path: Path):
    request = new_request("fig5", scale("smoke"))
    assert Page(request, results(Store(tmp_path), with_images)).not_pictured == told
    assert Page(request, load(request.experiments(), Store(tmp_path))).not_pictured == "No row is finished."


def test_curves_of_a_training_are_of_what_is_trained_here(tmp_path: Path, monkeypatch):
    request = new_request("league", scale("smoke"), tokenizers=(OutsideRow("m.py:Theirs", 4, 3, None, "", 0),))
    found = load(request.experiments(), Store(tmp_path))
    drawn: list[str] = []
    monkeypatch.setattr(curves, "curves", lambda results, path: drawn.extend(r.row.name for r in results))
    Page(request, found).draw(tmp_path / "figures")
    assert drawn == [r.row.name for r in found[:-1]]


def test_figures_know_when_images_came_or_went(tmp_path: Path):
    found = results(Store(tmp_path), [("KL-VAE", 0), ("mactok", 0)])
    before = made_from(found)
    assert before is not None
    (found[0].runs["evaluation"].folder / PICTURES).unlink()
    assert made_from(found) not in (before, None)
