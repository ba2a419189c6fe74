from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from harness.experiments.study import Row
from harness.store.runs import Store
from reports.ablation.figures import of_evaluation
from reports.results import PICTURES, Result, made_from, pictured
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


def test_figures_know_when_images_came_or_went(tmp_path: Path):
    found = results(Store(tmp_path), [("KL-VAE", 0), ("mactok", 0)])
    before = made_from(found)
    assert before is not None
    (found[0].runs["evaluation"].folder / PICTURES).unlink()
    assert made_from(found) not in (before, None)
