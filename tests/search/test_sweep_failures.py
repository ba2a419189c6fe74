"""Sweeps with trials that fail, and with trials that a pruner gives up."""

from __future__ import annotations

import statistics

import pytest

from tests.search.toy_sweep import RANDOM, UNDRAWN, steps
from tests.toy.forks import Ended

pytestmark = pytest.mark.slow

STEPS = 40

# Failures


@pytest.mark.parametrize(
    ("how", "executor", "outcome", "reason"),
    [
        ("fail", "inline", "failed", "told to fail"),
        ("diverge", "inline", "diverged", "told to diverge"),
        ("nan", "inline", "undefined", "not defined"),
    ],
)
def test_a_trial_without_a_value_leaves_the_others_alone(how, executor, outcome, reason, whole, bowl):
    """What failed is tried again when that is asked for; the rest would end the same way."""
    words = ("--executor", executor)

    def told(ended: Ended) -> None:
        assert ended.code == 1
        lines = [line for line in ended.errors.splitlines() if line.startswith("trial ")]
        assert [line.partition(":")[0] for line in lines] == ["trial 6", "trial 7", "trial 8"]
        assert all(outcome in line and reason in line for line in lines)
        assert "Traceback" not in ended.errors
        assert ("--retry failed" in ended.output) == (outcome == "failed")

    bowl.behave(how)
    told(bowl(*words))
    assert [state for state, _, _ in bowl.trials()] == ["done"] * 6 + [outcome] * 3
    ends = {"undefined": "done"}.get(outcome, outcome)
    assert sorted(run.state for run in bowl.bowls()) == sorted(["done"] * 6 + [ends] * 3)
    assert bowl.page().count("> **Note.** M = 0.8") == 3
    assert "best at **M = 0.3, share = 0.6**" in bowl.page()

    bowl.behave("")
    bowl.before = UNDRAWN
    before = bowl.outcomes(), bowl.trials()
    told(bowl(*words))
    assert (bowl.outcomes(), bowl.trials()) == before

    ended = bowl(*words, "--retry", "failed")
    if outcome != "failed":
        told(ended)
        assert (bowl.outcomes(), bowl.trials()) == before
        return
    assert (ended.code, ended.errors) == (0, "")
    assert bowl.trials() == before[1] + whole("grid").trials()[6:]
    assert bowl.page().count("> **Note.**") == 1  # on `smoke`
    again = bowl.outcomes()
    assert [outcomes[-1] for outcomes in again.values()] == ["done"] * 10
    assert sum(len(outcomes) for outcomes in again.values()) == 10 + 3
    bowl.done(*words, "--retry", "failed")
    assert (bowl.outcomes(), len(bowl.trials())) == (again, 9 + 3)


def test_a_job_that_was_killed_goes_on_with_the_same_command(whole, bowl):
    words = ("--executor", "local")
    bowl.behave("exit")
    ended = bowl(*words)
    assert ended.code == 1 and "--retry" not in ended.errors
    assert "not finished, the same command goes on" in ended.errors
    bowl.behave("")
    bowl.before = UNDRAWN
    ended = bowl(*words)
    assert (ended.code, ended.errors) == (0, "")
    assert sorted(values for _, _, values in bowl.trials()) == sorted(v for _, _, v in whole("grid").trials())


def test_a_place_that_diverged_is_not_suggested_over_and_over(undrawn):
    """A Gaussian process knows of finished trials alone: to it nothing has changed since."""
    undrawn.behave("diverge")
    assert undrawn("--sampler", "gp", "--trials", "28").code == 1
    last = [(round(x, 2), round(y, 2)) for _, (x, y), _ in undrawn.trials()[-5:]]
    assert len(set(last)) > 2, last


# Pruning


@pytest.mark.parametrize("pruner", ["median", "hyperband"])
def test_what_does_not_look_good_is_given_up(pruner, whole, bowl):
    words = (*RANDOM, "--trials", "12", "--pruner", pruner)
    bowl.behave("sleep 0.003")
    bowl.done(*words)
    trials, unpruned = bowl.trials(), whole("random").trials()[:12]
    assert [place for _, place, _ in trials] == [place for _, place, _ in unpruned]
    given_up = [number for number, (state, _, _) in enumerate(trials) if state == "given up early"]
    assert 3 <= len(given_up) < len(trials) - 3
    kept = [number for number in range(len(trials)) if number not in given_up]
    assert [trials[number] for number in kept] == [unpruned[number] for number in kept]
    assert min(kept, key=lambda n: trials[n][2]) == min(range(12), key=lambda n: unpruned[n][2])
    # On average: hyperband compares those of one bracket only.
    mean = {name: sum(unpruned[n][2][0] for n in those) / len(those) for name, those in (("up", given_up), ("", kept))}
    assert mean["up"] > mean[""]

    runs = bowl.bowls()
    for number, run in enumerate(runs):
        assert (run.state == "done") == (number in kept)
        assert steps(run) == STEPS if number in kept else 0 < steps(run) < STEPS
    assert f"`toy` over the training of the toy_bowl, seed 0, and gave up {len(given_up)} of" in bowl.page()
    assert "That is a proxy: rFD is known only at the end" in bowl.page()
    assert bowl.page().count("given up early.") == len(given_up)

    before, bowl.before = bowl.outcomes(), UNDRAWN
    bowl.done(*words)
    assert (bowl.outcomes(), bowl.trials()) == (before, trials)
    assert "All runs are wanted" in bowl.asked_about("harness.prune", "--yes")
    assert bowl.outcomes() == before


def test_a_job_that_does_not_look_good_is_ended(whole, undrawn):
    words = (*RANDOM, "--pruner", "median", "--trials")
    undrawn.done(*words, "5")
    undrawn.behave("sleep 0.05")
    undrawn.done(*words, "8", "--executor", "local", "--workers", "3")
    assert not undrawn.jobs()
    trials, unpruned = undrawn.trials(), whole("random").trials()[:8]
    assert [place for _, place, _ in trials] == [place for _, place, _ in unpruned]
    of_first = [value for _, _, (value,) in unpruned[:5]]
    worse = [value > statistics.median(of_first) for _, _, (value,) in unpruned[5:]]
    assert True in worse and False in worse
    assert [state == "given up early" for state, _, _ in trials[5:]] == worse
    stopped = [run for run in undrawn.bowls() if run.state == "stopped"]
    assert len(stopped) == sum(worse)
    assert all(steps(run) < STEPS for run in stopped)


def test_a_place_that_was_given_up_is_tried_again_where_nothing_is_given_up(whole, undrawn):
    undrawn.behave("sleep 0.003")
    undrawn.done("--pruner", "median")
    states = [state for state, _, _ in undrawn.trials()]
    given_up = [number for number, state in enumerate(states) if state == "given up early"]
    assert given_up and min(given_up) >= 3
    undrawn.behave("")
    undrawn.done()
    trials = [trial for trial in undrawn.trials() if trial[0] == "done"]
    assert sorted(trials) == sorted(whole("grid").trials())
    assert len(undrawn.trials()) == 9 + len(given_up)
    assert [run.state for run in undrawn.bowls()] == ["done"] * 9


def test_what_another_study_wants_is_not_given_up(undrawn):
    undrawn.behave("fail")
    assert undrawn("--objective", "rfd,kl").code == 1
    undrawn.behave("sleep 0.003")
    undrawn.done("--pruner", "median", "--retry", "failed")
    assert [state for state, _, _ in undrawn.trials()] == ["done"] * 9
