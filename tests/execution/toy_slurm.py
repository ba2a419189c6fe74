"""The toy command as jobs on a real Slurm."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from harness.store.runs import Run
from harness.system.files import read_json
from tests import toy
from tests.slurm import NODE, Slurm

# Six minutes, the shortest limit: Submitit takes every warning of so short a job for that of its time limit.
SMALL = "[default]\ncpus = 1\nmemory_gib = 1\nhours = 0.1\n"
SLOW = "sleep 0.3"  # at each of 30 steps
TIMEOUT = 60


class Toy:
    """The toy command in a store of its own, and the jobs that came of it."""

    def __init__(self, slurm: Slurm, checkout: Path, place: Path):
        self.slurm, self.checkout, self.place = slurm, checkout, place
        self.runs, self.cluster = place / "runs", place / "cluster.toml"
        self.cluster.write_text(SMALL)
        self.before = set(slurm.squeue())
        self.started: list[subprocess.Popen[str]] = []

    def start(self, rows: int, *words: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*self._command(self.runs, rows), "--executor", "slurm", "--cluster", str(self.cluster), *words],
            env=toy.environment(self.checkout) | self.slurm.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def run(self, rows: int, *words: str) -> tuple[int, str]:
        """The exit code, and what it said on standard error."""
        return self.end(self.start(rows, *words))

    def end(self, process: subprocess.Popen[str]) -> tuple[int, str]:
        _, errors = process.communicate(timeout=TIMEOUT)
        return process.returncode, errors

    def inline(self, rows: int) -> dict[str, object]:
        """What an inline run makes."""
        runs = self.place / f"inline-{rows}"
        subprocess.run(self._command(runs, rows), env=toy.environment(self.checkout), check=True, capture_output=True)
        return toy.results(runs)

    def _command(self, runs: Path, rows: int) -> list[str]:
        return [*toy.COMMAND, "--runs", str(runs), "--rows", str(rows), "--quiet"]

    def jobs(self, stage: str = "") -> dict[str, str]:
        """The state of every job, of a stage or of all, that was submitted here."""
        lines = self.slurm.run("squeue", "-h", "-a", "-r", "-t", "all", "-o", "%i %j %T").splitlines()
        found = [line.split() for line in lines]
        return {job: state for job, name, state in found if job not in self.before and stage in ("", name)}

    def training(self, seed: int = 0) -> Run:
        """The training of a seed, once it has begun."""
        experiments = self.runs.glob("toy_train/*/experiment.json")
        return Run(next(path.parent for path in experiments if read_json(path)["seed"] == seed))

    def underway(self, seed: int = 0) -> bool:
        """Whether the training of a seed has made a step."""
        try:
            return (self.training(seed).folder / "metrics.csv").exists()
        except StopIteration:
            return False

    def start_slowly(self, rows: int = 1, how: str = SLOW) -> tuple[subprocess.Popen[str], list[str]]:
        """The jobs of trainings, which are slow, but not when they come back; underway."""
        for seed in range(rows):
            toy.behave(self.runs, seed, how)
        process = self.start(rows)
        for seed in range(rows):
            until(partial(self.underway, seed))
            toy.behave(self.runs, seed, "")
        return process, sorted(self.jobs("toy_train"))

    def outcomes(self, seed: int = 0) -> list[str]:
        """How the attempts of a training ended."""
        return [attempt["outcome"] for attempt in self.training(seed).status()["attempts"]]

    def close(self) -> None:
        for process in self.started:
            process.kill()
            process.communicate()
        self.slurm.run("scancel", "--user=root")
        drain(self.slurm, False)
        until(lambda: self.slurm.run("sinfo", "-h", "-o", "%T").split()[0] == "idle")


def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def handles(process: subprocess.Popen[str], number: int) -> bool:
    """Whether a process has a handler for a signal."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    (caught,) = (line.split()[1] for line in lines if line.startswith("SigCgt:"))
    return bool(int(caught, 16) >> (number - 1) & 1)


def drain(slurm: Slurm, yes: bool) -> None:
    """Whether the node takes no more jobs."""
    state = slurm.run("sinfo", "-h", "-o", "%T").split()[0]
    if yes:
        slurm.run("scontrol", "update", f"NodeName={NODE}", "State=DRAIN", "Reason=test")
    elif state.startswith("drain"):
        slurm.run("scontrol", "update", f"NodeName={NODE}", "State=RESUME")
