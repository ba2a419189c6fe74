"""The look at latents alone that cheap sweeps take."""

from __future__ import annotations

import shutil

from harness.execution.demand import Fixed, Options
from harness.execution.executors import inline
from harness.planning.task import tasks
from harness.stages.diagnosis import METRICS
from harness.store.runs import Store
from tests.conftest import experiment


def test_it_tells_what_the_whole_evaluation_tells_of_the_latents(runs, tmp_path):
    store = Store(shutil.copytree(runs, tmp_path / "runs"))
    planned = tasks([experiment("mactok")], ("diagnosis", "evaluation"))
    before = {t.stage: len(t.run_in(store).status()["attempts"]) for t in planned}
    inline.execute(Fixed(dict.fromkeys(planned, "")), store, Options(quiet=True))
    found = {t.stage: t.run_in(store) for t in planned}
    made = [stage for stage, run in found.items() if len(run.status()["attempts"]) > before[stage]]
    assert made == ["diagnosis"]
    told = {r.metric: r for r in found["evaluation"].records() if r.metric in METRICS and r.split == "val"}
    assert {r.metric: r for r in found["diagnosis"].records()} == told
    assert sorted(told) == sorted(METRICS)
