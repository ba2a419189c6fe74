"""Trials side by side: as many as a table runs stages, unless trials learn from earlier ones; the same search."""

from __future__ import annotations

import itertools

import pytest

from harness.execution.demand import WORKERS, Options
from harness.execution.executors import inline, local, slurm
from harness.experiments.requests import SweepRequest, study_called
from harness.experiments.scales import SCALES, scale
from harness.search.samplers import INDEPENDENT, PRUNERS, SAMPLERS, Search
from harness.sweep import trials_at_once
from harness.system import machine
from tests.search.toy_sweep import TRIALS, Bowl

CORES = 3
SMALL = """
import dataclasses
from harness.experiments.scales import SCALES
SCALES["smoke"] = dataclasses.replace(SCALES["smoke"], small=True)
os.environ["OMP_NUM_THREADS"] = "2"
"""


@pytest.mark.parametrize("name", SCALES)
def test_as_many_as_a_table_runs_stages_if_no_trial_learns_from_another(name, monkeypatch):
    monkeypatch.setattr(machine, "cores", lambda: CORES)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    request = SweepRequest("mask_ratio", study_called("mask_ratio"), scale(name))
    for sampler in SAMPLERS:
        for pruner in PRUNERS:
            search = Search(sampler, pruner, 9, "")
            free = sampler in INDEPENDENT and pruner == "none"
            here = CORES if free and SCALES[name].small else 1
            assert trials_at_once(request, search, inline, Options()) == here
            assert trials_at_once(request, search, local, Options()) == WORKERS
            assert trials_at_once(request, search, slurm, Options()) == (None if search.independent else WORKERS)
            for executor in (inline, local):
                assert trials_at_once(request, search, executor, Options(workers=5)) == 5


def overlap(bowl: Bowl) -> bool:
    """Whether any trial began before the one before it had ended."""
    times = [(a["began"], a["began"] + a["seconds"]) for run in bowl.bowls() for a in run.status()["attempts"]]
    return any(began < ended for (_, ended), (began, _) in itertools.pairwise(times))


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["grid", "random", "tpe"])
def test_the_search_is_the_same(sampler, whole, undrawn):
    undrawn.behave("sleep 0.005")
    undrawn.done("--sampler", sampler, "--trials", str(TRIALS[sampler]), before=SMALL)
    assert undrawn.trials() == whole(sampler).trials()
    assert overlap(undrawn) == (sampler != "tpe")
