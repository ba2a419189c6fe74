"""Whatever interrupts a sweep, the same command ends in what was left of it."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from harness.search.samplers import SAMPLERS
from tests import toy
from tests.search.toy_sweep import RANDOM, TRIALS, UNDRAWN, Bowl, files, mistake, shown_trials

pytestmark = pytest.mark.slow

TIMEOUT = 60
# Killed just before so many changes of the journal.
KILLED_AT = """
import itertools, signal
numbers = itertools.count()
def hook(event, arguments):
    if event == "os.symlink" and ".journal" in str(arguments[1]) and next(numbers) == {number}:
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
"""


def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def over(process: int) -> bool:
    """Whether a command that nobody has waited for is over."""
    return psutil.Process(process).status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_sweep_that_was_killed_ends_as_one_that_was_not(sampler, whole, undrawn):
    trials = min(TRIALS[sampler], 14)
    words = ("--sampler", sampler, "--trials")
    undrawn.done(*words, "2")
    assert undrawn.trials() == whole(sampler).trials()[:2]
    undrawn.behave("sleep 0.002")
    for begun in (4, trials - 4, trials - 2):
        process = undrawn.start(*words, str(trials))
        until(lambda begun=begun: len(undrawn.bowls()) >= begun)
        os.kill(process, signal.SIGKILL)
        assert undrawn.forks.wait(process).code == -signal.SIGKILL
    undrawn.behave("")
    undrawn.done(*words, str(trials))
    assert undrawn.trials() == whole(sampler).trials()[:trials]
    ended = undrawn.outcomes()
    assert len(ended) == 1 + trials
    assert all(outcomes[-1] == "done" and outcomes.count("done") == 1 for outcomes in ended.values()), ended
    assert sum(outcomes.count("killed") for outcomes in ended.values()) <= 3


def test_another_sampler_goes_on_from_there(whole, tmp_path):
    bowl = whole("grid").copy(tmp_path, UNDRAWN)
    bowl.done("--sampler", "tpe", "--trials", "11")
    trials = bowl.trials()
    assert trials[:9] == whole("grid").trials()
    assert len(trials) == 11
    assert shown_trials(bowl.done()) == 11
    assert bowl.trials() == trials


def test_fewer_trials_may_be_asked_for_than_before_it_was_killed(undrawn):
    undrawn.behave("sleep 0.01")
    process = undrawn.start()
    until(lambda: len(undrawn.bowls()) >= 2)
    os.kill(process, signal.SIGKILL)
    undrawn.forks.wait(process)
    undrawn.behave("")
    assert shown_trials(undrawn.done("--trials", "3")) == 3
    assert shown_trials(undrawn.done()) == 9


@pytest.mark.parametrize("case", ["grid", "random", "tried again"])
def test_killed_at_every_change_of_the_journal(case, whole, forks, tmp_path):
    start = Bowl(forks, tmp_path / "start", UNDRAWN)
    start.behave("fail" if case == "tried again" else "")
    if case == "tried again":
        assert start().code == 1
        expected, words = start.trials() + whole("grid").trials()[6:], ("--retry", "failed")
        start.behave("")
    else:
        expected, words = whole(case).trials()[:2], ("--sampler", case, "--trials", "2")
    for first in range(0, 1000, 4):
        bowls = {number: start.copy(tmp_path / str(number), UNDRAWN) for number in range(first, first + 4)}
        killed = [bowl.start(*words, before=KILLED_AT.format(number=n)) for n, bowl in bowls.items()]
        codes = [forks.wait(process).code for process in killed]
        again = [bowl.start(*words) for bowl in bowls.values()]
        for process, (number, bowl) in zip(again, bowls.items(), strict=True):
            ended = forks.wait(process)
            assert (ended.code, ended.errors) == (0, ""), number
            assert bowl.trials() == expected, number
            assert len(bowl.bowls()) == len({place for _, place, _ in expected}), number
        if 0 in codes:
            break
        assert set(codes) == {-signal.SIGKILL}
    assert first >= 4


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_after_a_step_and_the_same_command_goes_on(number, whole, undrawn):
    undrawn.behave("sleep 0.05")
    process = undrawn.start()
    until(lambda: any(undrawn.runs.glob("toy_bowl/*/metrics.csv")))
    os.kill(process, number)
    ended = undrawn.forks.wait(process)
    assert ended.code == 130
    assert "the same command goes on" in ended.errors
    assert "Traceback" not in ended.errors
    (run,) = undrawn.bowls()
    assert run.state == "stopped"
    undrawn.behave("")
    undrawn.done()
    assert undrawn.trials() == whole("grid").trials()
    assert undrawn.outcomes()[f"toy_bowl {run.key}"] == ["stopped", "done"]


@pytest.mark.parametrize("sampler", ["grid", "random"])
def test_no_trial_of_jobs_is_lost_or_double_whatever_is_killed(sampler, whole, undrawn):
    dice, trials, killed = random.Random(sampler), {"grid": 9, "random": 8}[sampler], 0
    words = ("--executor", "local", "--workers", "8", "--sampler", sampler, "--trials", str(trials))
    words += ("--retry", "failed")  # what is left of a job that was killed
    undrawn.behave("sleep 0.05")
    for _ in range(3):
        process = undrawn.start(*words)
        until(lambda process=process: undrawn.jobs() or over(process))
        for _ in range(2):
            if jobs := undrawn.jobs():
                with contextlib.suppress(psutil.NoSuchProcess):
                    dice.choice(jobs).kill()
                    killed += 1
            time.sleep(dice.uniform(0, 1.5))
        os.kill(process, signal.SIGKILL)
        undrawn.forks.wait(process)
    assert killed >= 2
    undrawn.behave("")
    for _ in range(3):  # a job that was killed a moment ago may fail a trial of this command too
        last = undrawn(*words)
        if last.code != 1:
            break
    assert (last.code, last.errors) == (0, "")
    until(lambda: not undrawn.jobs())
    expected, ended = sorted(whole(sampler).trials()[:trials]), undrawn.trials()
    assert sorted(trial for trial in ended if trial[0] == "done") == expected
    assert {state for state, _, _ in ended} <= {"done", "failed"}  # of a job that was killed, and tried again
    assert {place for _, place, _ in ended} == {place for _, place, _ in expected}
    assert len(undrawn.bowls()) == trials
    for outcomes in undrawn.outcomes().values():
        assert outcomes[-1] == "done" and outcomes.count("done") == 1


def test_a_journal_with_a_torn_line_and_a_left_over_lock_goes_on(whole, tmp_path):
    bowl = whole("grid").copy(tmp_path, UNDRAWN)
    lines, attempts = bowl.journal().read_bytes().splitlines(keepends=True), bowl.outcomes()
    for torn in (1, 20):
        content = b"".join(lines[:-torn]) + lines[-torn][:-9]
        bowl.journal().write_bytes(content)
        assert [state for state, _, _ in bowl.trials()].count("done") < 9
        assert bowl.journal().read_bytes() == content  # readers leave the line as it is
        if torn == 1:  # it takes seconds until a lock counts as left over
            Path(f"{bowl.journal()}.lock").symlink_to(bowl.journal())
        bowl.done()
        assert bowl.trials() == whole("grid").trials()
    assert bowl.outcomes() == attempts


def test_the_results_of_a_trial_that_are_gone_are_made_again(whole, tmp_path):
    bowl = whole("random").copy(tmp_path, UNDRAWN)
    trials, before = bowl.trials(), toy.results(bowl.runs)
    gone, damaged, *_ = bowl.bowls()
    shutil.rmtree(gone.folder)
    (damaged.folder / "result.json").write_text("{")
    bowl.done(*RANDOM, "--trials", str(TRIALS["random"]))
    assert bowl.trials() == trials
    assert toy.results(bowl.runs) == before
    assert "runs are gone" not in bowl.page()


@pytest.mark.parametrize("store", ["same", "other"])
def test_a_second_driver_is_refused_and_changes_nothing(store, whole, undrawn, tmp_path):
    undrawn.behave("sleep 0.5")
    first = undrawn.start()
    try:
        until(lambda: any(undrawn.runs.glob("toy_bowl/*/metrics.csv")))
        before = files(undrawn.runs / "sweeps"), files(undrawn.runs / "asked")
        if store == "same":
            mistake(undrawn(), "another command drives bowl-smoke-rfd", "harness.status")
        else:  # the same journal, named from another store
            mistake(Bowl(undrawn.forks, tmp_path / "other")("--storage", str(undrawn.journal())), "another")
        assert (files(undrawn.runs / "sweeps"), files(undrawn.runs / "asked")) == before
    finally:
        os.kill(first, signal.SIGKILL)
        undrawn.forks.wait(first)
    undrawn.behave("")
    undrawn.done()
    assert undrawn.trials() == whole("grid").trials()
