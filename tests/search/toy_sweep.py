"""The toy's sweep on a bowl, in a store of its own, and what its tests look at."""

from __future__ import annotations

import shutil
from pathlib import Path

import optuna
import psutil

from harness.search.storage import default_storage, quiet, storage_at
from harness.search.trials import state_of
from harness.store.runs import Run
from tests.toy.forks import Ended, Forks

SWEEP = "harness.sweep"
PAGE = "bowl-smoke-rfd"
RANDOM = ("--sampler", "random")
SHARE = ("--set", "masking.semantic_share=0.6")
# Those that learn from results begin with ten places at random.
TRIALS = {"grid": 9, "random": 16, "tpe": 24, "gp": 20, "cmaes": 24}
# Figures take most of the time.
UNDRAWN = """
import collections
reports.sweep.page.Page.draw = lambda *_: collections.defaultdict(bool)
"""

Trial = tuple[str, tuple[float, ...], list[float] | None]


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

    def trials(self, page: str = PAGE, storage: str = "") -> list[Trial]:
        """How every trial ended that has begun, its place and its values, by number."""
        with quiet():
            study = optuna.load_study(study_name=page, storage=storage_at(storage or str(self.journal(page))))
        begun = [t for t in study.trials if t.state != optuna.trial.TrialState.WAITING]
        return [(state_of(t), tuple(t.params.values()), t.values) for t in begun]

    def page(self, name: str = PAGE) -> str:
        return (self.out / f"{name}.md").read_text().replace(str(self.place), "PLACE")

    def bowls(self) -> list[Run]:
        """The runs of places, by the time at which they began."""
        runs = [Run(path.parent) for path in self.runs.glob("toy_bowl/*/status.json")]
        return sorted(runs, key=lambda run: run.status()["attempts"][0]["began"])

    def outcomes(self) -> dict[str, list[str]]:
        """How the attempts of every run ended."""
        runs = [Run(path.parent) for path in self.runs.glob("toy_*/*/status.json")]
        return {f"{run.stage} {run.key}": [a["outcome"] for a in run.status()["attempts"]] for run in runs}

    def jobs(self) -> list[psutil.Process]:
        """The processes of local jobs."""
        every = psutil.process_iter(["cmdline"])
        return [p for p in every if any(str(self.runs) in word for word in p.info["cmdline"] or [])]


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
