"""Sweeps on a bowl whose optimum is known: whatever interrupts one, the same command ends in what was left of it."""

from __future__ import annotations

import contextlib
import functools
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import psutil
import pytest

from harness.search.samplers import SAMPLERS
from harness.search.storage import default_storage, quiet, storage_at
from harness.search.trials import state_of
from harness.store.runs import Run
from tests import toy
from tests.toy.forks import Ended, Forks

SWEEP = "harness.sweep"
PAGE = "bowl-smoke-rfd"
RANDOM = ("--sampler", "random")
SHARE = ("--set", "masking.semantic_share=0.6")
# Those that learn from results begin with ten places at random.
TRIALS = {"grid": 9, "random": 16, "tpe": 24, "gp": 20, "cmaes": 24}
NEAR = {"grid": 0.0, "random": 0.06, "tpe": 0.005, "gp": 0.001, "cmaes": 0.01}  # squared distance to the optimum
STEPS = 40
TIMEOUT = 60
# Figures take most of the time.
UNDRAWN = """
import collections
reports.sweep.page.Page.draw = lambda *_: collections.defaultdict(bool)
"""
# Killed just before so many changes of the journal.
KILLED_AT = """
import itertools, signal
numbers = itertools.count()
def hook(event, arguments):
    if event == "os.symlink" and ".journal" in str(arguments[1]) and next(numbers) == {number}:
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
"""

Told = tuple[str, tuple[float, ...], list[float] | None]


class Bowl:
    """The toy's sweep in a store of its own; `before` every command some Python."""

    def __init__(self, forks: Forks, place: Path, before: str = ""):
        self.forks, self.place, self.runs, self.out = forks, place, place / "runs", place / "out"
        self.before = before

    def __call__(self, *words: str, module: str = SWEEP, study: str = "bowl", before: str = "") -> Ended:
        return self.forks.wait(self.start(*words, module=module, study=study, before=before))

    def start(self, *words: str, module: str = SWEEP, study: str = "bowl", before: str = "") -> int:
        common = ["--scale", "smoke", "--runs", str(self.runs), "--out", str(self.out), "--quiet"]
        words = (*([study] if study else []), *common, *words)
        return self.forks.start(module, *words, before=self.before + before)

    def done(self, *words: str, **options: str) -> str:
        """What a command says that ends well, without a word of trouble."""
        ended = self(*words, **options)
        assert (ended.code, ended.errors) == (0, "")
        return ended.output

    def asked_about(self, module: str, *words: str) -> str:
        """What a command says that knows the store and nothing of scales."""
        ended = self.forks(module, *words, "--runs", str(self.runs))
        assert (ended.code, ended.errors) == (0, "")
        return ended.output

    def copy(self, place: Path, before: str = "") -> Bowl:
        made = Bowl(self.forks, place, before)
        shutil.copytree(self.runs, made.runs)
        return made

    def behave(self, how: str) -> None:
        (self.runs / "behaviour").mkdir(parents=True, exist_ok=True)
        (self.runs / "behaviour/toy_bowl").write_text(how)

    def journal(self, page: str = PAGE) -> Path:
        return Path(default_storage(self.runs, page))

    def trials(self, page: str = PAGE, storage: str = "") -> list[Told]:
        """How every trial ended that has begun, its place and its values, by number."""
        with quiet():
            study = optuna.load_study(study_name=page, storage=storage_at(storage or str(self.journal(page))))
        begun = [t for t in study.trials if t.state != optuna.trial.TrialState.WAITING]
        return [(state_of(t), tuple(t.params.values()), t.values) for t in begun]

    def page(self, name: str = PAGE) -> str:
        return (self.out / f"{name}.md").read_text().replace(str(self.place), "PLACE")

    def bowls(self) -> list[Run]:
        """The runs of places, by the time at which they began."""
        found = [Run(path.parent) for path in self.runs.glob("toy_bowl/*/status.json")]
        return sorted(found, key=lambda run: run.status()["attempts"][0]["began"])

    def outcomes(self) -> dict[str, list[str]]:
        """How the attempts of every run ended."""
        runs = [Run(path.parent) for path in self.runs.glob("toy_*/*/status.json")]
        return {f"{run.stage} {run.key}": [a["outcome"] for a in run.status()["attempts"]] for run in runs}

    def jobs(self) -> list[psutil.Process]:
        """The processes of local jobs."""
        every = psutil.process_iter(["cmdline"])
        return [p for p in every if any(str(self.runs) in word for word in p.info["cmdline"] or [])]


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    forks = Forks(toy.checkout(tmp_path_factory.mktemp("toy")), tmp_path_factory.mktemp("said"))
    with forks.server:
        yield forks


@pytest.fixture
def bowl(forks: Forks, tmp_path: Path) -> Bowl:
    return Bowl(forks, tmp_path)


@pytest.fixture
def undrawn(forks: Forks, tmp_path: Path) -> Bowl:
    return Bowl(forks, tmp_path, UNDRAWN)


@pytest.fixture(scope="module")
def whole(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Bowl]:
    """The sweep by a sampler that nothing disturbed. Tests copy it, never change it."""

    @functools.cache
    def made(sampler: str) -> Bowl:
        bowl = Bowl(forks, tmp_path_factory.mktemp(sampler))
        bowl.done("--sampler", sampler, "--trials", str(TRIALS[sampler]))
        return bowl

    return made


def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def over(process: int) -> bool:
    """Whether a command that nobody has waited for is over."""
    return psutil.Process(process).status() == psutil.STATUS_ZOMBIE


def mistake(ended: Ended, *expected: str) -> None:
    """A mistake is one line, and names what is wrong."""
    assert ended.code == 2, ended.errors
    assert ended.errors.startswith("error: ")
    assert ended.errors.count("\n") == 1
    assert not ended.output
    for text in expected:
        assert text in ended.errors


def files(place: Path) -> dict[str, bytes]:
    return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def steps(run: Run) -> int:
    """How far its curve goes."""
    return len((run.folder / "metrics.csv").read_text().splitlines()) - 1


def shown_trials(output: str) -> int:
    """The lines of the table that a terminal shows."""
    return sum(line.startswith("|") for line in output.splitlines()) - 2


# Where it is best


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_optimum_is_found(sampler, whole):
    trials = whole(sampler).trials()
    assert len(trials) == TRIALS[sampler]
    assert {state for state, _, _ in trials} == {"done"}
    assert len({place for _, place, _ in trials}) == len(trials)
    for _, (x, y), (value,) in trials:
        assert value == pytest.approx((x - 0.3) ** 2 + (y - 0.6) ** 2)
    assert min(value for _, _, (value,) in trials) <= NEAR[sampler]
    if sampler not in ("grid", "random"):
        # Ten places at random have 0.22 on average, and once in two hundred times less than this.
        assert sum(value for _, _, (value,) in trials[-10:]) / 10 < 0.1


def test_a_grid_is_every_place_once_and_the_same_command_has_nothing_to_do(whole, tmp_path):
    bowl = whole("grid").copy(tmp_path)
    grid = [(x, y) for x in (0.0, 0.3, 0.8) for y in (0.2, 0.6, 1.0)]
    assert [place for _, place, _ in bowl.trials()] == grid
    assert len(bowl.bowls()) == 9
    trials, statuses = bowl.trials(), {run.folder: (run.folder / "status.json").stat() for run in bowl.bowls()}
    output = bowl.done()
    assert shown_trials(output) == 9
    assert "best at **M = 0.3, share = 0.6**" in output
    assert bowl.trials() == trials
    assert {run.folder: (run.folder / "status.json").stat() for run in bowl.bowls()} == statuses


def test_every_trial_that_ends_is_told_on_one_line(bowl, forks):
    words = ["bowl", "--scale", "smoke", "--runs", str(bowl.runs), "--out", str(bowl.out), "--trials", "3"]
    ended = forks(SWEEP, *words)
    assert ended.code == 0
    told = [line for line in ended.errors.replace("\r", "\n").splitlines() if line.startswith("trial ")]
    assert [line.partition(";")[0] for line in told] == [
        f"trial {number}, M = 0, share = {share:g}: rFD {value}"
        for number, (share, value) in enumerate([(0.2, 0.25), (0.6, 0.09), (1, 0.25)])
    ]
    assert "best so far M = 0, share = 0.6 with 0.09, of 3" in told[-1]


# Interruptions


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
    expected, found = sorted(whole(sampler).trials()[:trials]), undrawn.trials()
    assert sorted(trial for trial in found if trial[0] == "done") == expected
    assert {state for state, _, _ in found} <= {"done", "failed"}  # of a job that was killed, and tried again
    assert {place for _, place, _ in found} == {place for _, place, _ in expected}
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


# Failures


@pytest.mark.parametrize(
    ("how", "executor", "outcome", "reason"),
    [
        ("fail", "inline", "failed", "told to fail"),
        ("exit", "local", "failed", "ended without a word"),
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
        assert ("--retry failed" in ended.errors) == (outcome == "failed")

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
    assert "> **Note.**" not in bowl.page()
    again = bowl.outcomes()
    assert [outcomes[-1] for outcomes in again.values()] == ["done"] * 10
    assert sum(len(outcomes) for outcomes in again.values()) == 10 + 3
    bowl.done(*words, "--retry", "failed")
    assert (bowl.outcomes(), len(bowl.trials())) == (again, 9 + 3)


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


# Two objectives


def test_two_objectives_have_a_front(bowl):
    bowl.done("--objective", "rfd,kl")
    page = bowl.page("bowl-smoke-rfd-kl")
    assert re.search(r"Pareto front.*: M = 0.3, share = 0.6; M = 0.8, share = 0.6\.\n", page)
    assert "best at **M = 0.3, share = 0.6**" in page
    assert "best at **M = 0.8, share = 0.6**" in page
    assert "(bowl-smoke-rfd-kl/front.png)" in page
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", page):
        assert (bowl.out / picture).stat().st_size > 5000, picture
    assert all(len(values) == 2 for _, _, values in bowl.trials("bowl-smoke-rfd-kl"))


# Rows and seeds


def test_rows_are_chosen_between(undrawn):
    words = ("--rows", "mactok,image_masking", "--objective", "rfd", "--space")
    shown = undrawn.done(*words, "masking.max_ratio=0.1,0.3", study="own")
    (page,) = undrawn.out.glob("*.md")
    # The masks of the one follow no object, and those of the other half of the time.
    places = [("image_masking", 0.1), ("image_masking", 0.3), ("mactok", 0.1), ("mactok", 0.3)]
    values = [(x - 0.3) ** 2 + (0.6 - {"image_masking": 0.0, "mactok": 0.5}[row]) ** 2 for row, x in places]
    trials = undrawn.trials(page.stem)
    assert [place for _, place, _ in trials] == places
    assert [value for _, _, (value,) in trials] == pytest.approx(values)
    for row in ("mactok", "image_masking"):
        assert f"best at **{row}, masking.max_ratio = 0.3**: " in shown
    undrawn.done(*words, "masking.max_ratio=0.1:0.3", "--sampler", "tpe", "--trials", "12", study="own")
    (page,) = set(undrawn.out.glob("*.md")) - {page}
    assert {row for _, (row, _), _ in undrawn.trials(page.stem)} == {"mactok", "image_masking"}


def test_several_seeds_are_a_mean_and_those_that_are_there_are_not_made_again(whole, tmp_path):
    bowl, page = whole("grid").copy(tmp_path), "bowl-smoke-rfd-2-seeds"
    before = bowl.outcomes()
    bowl.done("--seeds", "2")
    for (_, place, values), (_, place_before, values_before) in zip(bowl.trials(page), bowl.trials(), strict=True):
        assert place == place_before
        assert values == pytest.approx([values_before[0] + 0.01])  # 0.02 above it with the second seed
    made = bowl.outcomes()
    assert made.items() >= before.items()
    assert len(made) == len(before) + 9
    assert re.search(r"best at \*\*M = 0.3, share = 0.6\*\*: \S+ ± ", bowl.page(page))
    assert "Mean over 2 seeds" in bowl.page(page)
    assert set(tmp_path.glob("runs/asked/*")) == {tmp_path / f"runs/asked/{name}.json" for name in (PAGE, page)}


# Spaces of one's own


def test_a_space_needs_no_sweep(bowl):
    bowl.done("--space", "masking.max_ratio=0:0.9", "--objective", "rfd", "--trials", "3", study="")
    (page,) = bowl.out.glob("own-smoke-rfd-*.md")
    places = [place for _, place, _ in bowl.trials(page.stem)]
    assert len(places) == 3
    assert all(0 <= x <= 0.9 for (x,) in places)
    assert "masking.max_ratio = " in page.read_text()
    assert "--space masking.max_ratio=0:0.9" in page.read_text()


def test_a_space_takes_the_place_of_the_sweeps_own(bowl):
    bowl.done("--space", "masking.semantic_share=0.1,0.3")
    (page,) = bowl.out.glob("*.md")
    assert [place for _, place, _ in bowl.trials(page.stem)] == [(0.1,), (0.3,)]
    words = ("--space", "masking.semantic_share=0.01:1:log", "--space", "masking.max_ratio=0.1,0.3")
    bowl.done(*words, "--trials", "12")  # values beside a range: no grid, and tpe then
    (log,) = set(bowl.out.glob("*.md")) - {page}
    places = [place for _, place, _ in bowl.trials(log.stem)]
    assert {x for _, x in places} == {0.1, 0.3}
    assert all(0.01 <= share <= 1 for share, _ in places)
    assert sum(share < 0.1 for share, _ in places) >= 3  # half of them by ratios, a tenth of them evenly
    assert "log" in log.read_text()


def test_what_is_claimed_of_one_field_is_not_claimed_of_another(undrawn):
    undrawn.done("--space", "masking.semantic_share=0.1,0.3")
    (page,) = undrawn.out.glob("*.md")
    (claim,) = (line for line in page.read_text().splitlines() if "Claim of the paper" in line)
    assert "**Not tested**" in claim
    assert "semantic_share" not in claim


# Commands about it


@pytest.mark.parametrize("sampler", ["grid", "tpe"])
def test_the_store_alone_tells_all_of_a_sweep(sampler, whole, tmp_path):
    bowl = whole(sampler).copy(tmp_path)
    runs, trials = files(bowl.runs), TRIALS[sampler]
    bowl.done(module="harness.report")
    assert bowl.page() == whole(sampler).page()
    assert set(files(bowl.out)) == set(files(whole(sampler).out))
    shown = bowl.done(module="harness.status")
    assert f"{trials + 1} done" in shown
    assert shown.count("toy_bowl") == trials
    shown = bowl.asked_about("harness.runs", "bowl")
    assert f"{trials + 1} of {trials + 1} runs are done" in shown
    assert "M = " in shown
    assert "All runs are wanted" in bowl.asked_about("harness.prune", "--yes")
    changed = {name for name, content in files(bowl.runs).items() if runs.get(name) != content}
    assert all(name.endswith(".lock") for name in changed)
    assert set(runs) <= set(files(bowl.runs))


def test_a_dry_run_writes_nothing_and_tells_what_is_cached(whole, forks, tmp_path):
    bowl = Bowl(forks, tmp_path)
    assert "10 of 10 stages to run" in bowl.done("--dry-run")
    assert "24 trials by tpe" in bowl.done("--dry-run", "--sampler", "tpe", "--trials", "24")
    assert not list(tmp_path.iterdir())
    bowl = whole("grid").copy(tmp_path)
    before = files(bowl.runs)
    assert "All 10 stages are done" in bowl.done("--dry-run")
    assert "1 of 3 stages to run" in bowl.done("--dry-run", "--space", "masking.max_ratio=0.3,0.4", *SHARE)
    assert files(bowl.runs) == before
    assert not bowl.out.exists()


def test_a_dry_run_needs_neither_torch_nor_optuna(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", SWEEP, "mask_ratio", "--dry-run"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"},
    )
    assert done.returncode == 0, done.stderr[-1000:]
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert not imported & {"torch", "timm", "matplotlib", "pandas", "sklearn", "scipy", "optuna"}
    assert not list(tmp_path.iterdir())


# Storages


def test_a_sweep_may_be_kept_in_a_database(whole, undrawn):
    url = f"sqlite:///{undrawn.place}/trials.db"
    words = (*RANDOM, "--storage", url, "--trials")
    undrawn.done(*words, "1")
    undrawn.done(*words, "2")
    assert undrawn.trials(storage=url) == whole("random").trials()[:2]
    assert not undrawn.journal().exists()
    page = undrawn.page()
    assert "optuna-dashboard sqlite:///PLACE/trials.db" in page
    undrawn.done("--storage", url, module="harness.report")
    assert undrawn.page() == page


def test_a_study_of_another_space_is_not_added_to(undrawn, forks):
    declared, storage = forks.place / "ablations/bowl.py", undrawn.place / "kept/trials.journal"
    words, text = (*RANDOM, "--storage", str(storage), "--trials", "2"), declared.read_text()
    undrawn.done(*words)
    before, kept = files(undrawn.runs), storage.read_bytes()
    assert "high=1.0" in text
    declared.write_text(text.replace("high=1.0", "high=0.95", 1))
    try:
        mistake(undrawn(*words), "another space of M: 0 to 1 there, 0 to 0.95 here", "--storage")
    finally:
        declared.write_text(text)
    assert files(undrawn.runs) == before
    assert storage.read_bytes() == kept
    undrawn.done(*words)


def test_a_file_that_is_no_journal_is_left_as_it_is(bowl):
    notes = bowl.place / "notes.txt"
    notes.write_text("what else\nwas noted")
    ended = bowl("--storage", str(notes))
    assert ended.code in (1, 2)
    assert ended.errors.count("\n") == 1
    assert notes.read_text() == "what else\nwas noted"
    assert not bowl.runs.exists()


# Mistakes


MISTAKES = {
    "sweep": (["--trials", "1"], "bowll", ["Did you mean 'bowl'"]),
    "sampler": (["--sampler", "tpee"], "bowl", ["unknown sampler", "Did you mean 'tpe'"]),
    "pruner": (["--pruner", "medain"], "bowl", ["unknown pruner", "Did you mean 'median'"]),
    "objective": (["--objective", "rdf"], "bowl", ["unknown objective", "Did you mean 'rfd'"]),
    "objective twice": (["--objective", "rfd,rfd"], "bowl", ["different"]),
    "pruner of two": (["--objective", "rfd,kl", "--pruner", "median"], "bowl", ["--pruner median", "by one objective"]),
    "cmaes of two": (["--objective", "rfd,kl", "--sampler", "cmaes"], "bowl", ["cmaes", "one objective"]),
    "cmaes of one range": (["--space", "masking.max_ratio=0:1", "--sampler", "cmaes"], "bowl", ["two ranges"]),
    "field": (["--space", "masking.ratio=0:1"], "bowl", ["no 'ratio'", "Did you mean 'max_ratio'"]),
    "group": (["--space", "masking=0:1"], "bowl", ["group of fields"]),
    "no number": (["--space", "masking.per=0:1"], "bowl", ["is not a number"]),
    "form": (["--space", "masking.max_ratio=a:b"], "bowl", ["FIELD=LOW:HIGH"]),
    "reversed": (["--space", "masking.max_ratio=1:0"], "bowl", ["the lower one first"]),
    "log of 0": (["--space", "masking.max_ratio=0:1:log"], "bowl", ["above 0"]),
    "range": (["--space", "masking.max_ratio=0:1.5", *RANDOM], "bowl", ["less than or equal to 1"]),
    "value": (["--space", "masking.max_ratio=0.5,1.5"], "bowl", ["1.5", "less than or equal to 1"]),
    "whole number": (["--space", "tokens=2.5,4"], "bowl", ["2.5", "whole number"]),
    "no influence": (["--space", "alignment.weight=0.1,1"], "bowl", ["no influence on the row 'mixed'"]),
    "field twice": (
        ["--space", "masking.max_ratio=0,1", "--space", "tokenizer.masking.max_ratio=0,1"],
        "bowl",
        ["twice"],
    ),
    "seed": (["--space", "seed=0,1"], "bowl", ["--seeds"]),
    "no influence on the objective": (["--space", "training.learning_rate=0.1,0.2"], "bowl", ["no influence on rFD"]),
    "range on a grid": (["--space", "masking.max_ratio=0:1", "--sampler", "grid"], "bowl", ["has a range and no grid"]),
    "no space": ([], "own", ["--space"]),
    "trials": (["--trials", "0"], "bowl", ["--trials 0", "at least 1"]),
    "swept and set": (["--set", "masking.max_ratio=0.5"], "bowl", ["is swept", "--set"]),
    "table": ([], "table5", ["table", "harness.ablate table5"]),
    "unreachable": (
        ["--storage", "postgresql+psycopg://x:secret@127.0.0.1:1/none"],
        "bowl",
        ["x:***@127.0.0.1:1/none cannot be reached"],
    ),
    "nonsense": (["--storage", "nonsense://x"], "bowl", ["nonsense://x cannot be reached"]),
    "folder": (["--storage", "/"], "bowl", ["/"]),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_clear_line_exit_code_2_and_nothing_written(case, bowl):
    words, study, expected = MISTAKES[case]
    ended = bowl(*words, study=study)
    mistake(ended, *expected)
    assert "secret" not in ended.errors
    assert not list(bowl.place.iterdir())


def test_torchrun_is_refused(bowl):
    mistake(bowl(before='os.environ["WORLD_SIZE"] = "2"'), "torchrun")
    assert not list(bowl.place.iterdir())


def test_other_commands_name_the_one_that_is_meant(bowl):
    mistake(bowl(module="harness.ablate"), "bowl is a sweep", "harness.sweep bowl")
    for module in ("harness.report", "harness.status"):
        mistake(bowl(module=module), "harness.sweep bowl --scale smoke runs it")
    assert not list(bowl.place.iterdir())
