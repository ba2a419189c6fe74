"""The id of any stage of a row names the run that a command needs, or the message names the ids that would do."""

from __future__ import annotations

import argparse

import pytest

from harness import cli, compare
from harness.planning.plan import plan_of
from harness.planning.task import Task
from harness.store.runs import Store
from harness.system.errors import Mistake
from tests.commands.stores import FOIL, MACTOK, filled, make, request_of

ROW = plan_of(request_of()).tasks
BOTH = plan_of(request_of((*MACTOK, *FOIL))).tasks
NEEDED = {
    "generation": ("generation",),
    "finetuning": cli.TOKENIZING,
}  # the stage that is found, of those that would do


def of(planned: list[Task], stage: str) -> list[Task]:
    return [t for t in planned if t.stage == stage]


def chosen(store: Store, key: str, stages: tuple[str, ...]) -> str:
    found = cli.chosen_run(argparse.Namespace(runs=store.root, run=key), stages)
    return f"{found.run.stage}/{found.run.key}"


@pytest.fixture(scope="module")
def one(tmp_path_factory) -> Store:
    return filled(tmp_path_factory.mktemp("one"), request_of())


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> Store:
    return filled(tmp_path_factory.mktemp("two"), request_of(), request_of(FOIL))


@pytest.mark.parametrize("needed", NEEDED)
@pytest.mark.parametrize("task", ROW, ids=[t.stage for t in ROW])
def test_any_stage_of_a_row_names_it(task, needed, one):
    expected = task.stage if task.stage in NEEDED[needed] else needed
    assert chosen(one, task.key, NEEDED[needed]) == f"{expected}/{of(ROW, expected)[0].key}"


@pytest.mark.parametrize("task", BOTH, ids=[f"{t.stage}-{t.key[:6]}" for t in BOTH])
def test_a_stage_that_rows_share_names_those_that_would_do(task, two):
    of_rows = [row for row in (MACTOK, FOIL) if task in plan_of(request_of(row)).tasks]
    keys = sorted(of(plan_of(request_of(row)).tasks, "generation")[0].key for row in of_rows)
    if len(keys) == 1:
        assert chosen(two, task.key, ("generation",)) == f"generation/{keys[0]}"
        return
    with pytest.raises(Mistake, match=f"^several runs of generation share {task.stage} {task.key}: name one") as error:
        chosen(two, task.key, ("generation",))
    rows = {t.key: rows for row in (MACTOK, FOIL) for t, rows in plan_of(request_of(row)).labels.items()}
    assert all(f"{key} ({rows[key]}, seed 0)" in str(error.value) for key in keys)


def test_a_row_without_the_stage_says_so(tmp_path):
    store = Store(tmp_path)
    for task in ROW:
        if task.stage != "generation":
            make(task, store)
    with pytest.raises(Mistake, match="and no run of generation of its row is done"):
        chosen(store, of(ROW, "latents")[0].key, ("generation",))


def test_compare_takes_ids_of_different_stages(two, capsys):
    mactok, foil = (plan_of(request_of(row)).tasks for row in (MACTOK, FOIL))
    a, b = of(mactok, "evaluation")[0], of(foil, "latents")[0]
    for words in ([a.key, b.key], [b.key, a.key]):
        assert compare.main([*words, "--runs", str(two.root)]) == 0
        text = capsys.readouterr().out
        both = {of(planned, stage)[0].key for planned in (mactok, foil) for stage in ("evaluation", "latents")}
        assert sum(key in text for key in both) == 2
