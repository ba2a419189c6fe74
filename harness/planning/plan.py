"""The plan of a request: its experiments by row, and their tasks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from harness.data import trial
from harness.experiments.experiment import Data, Experiment
from harness.experiments.requests import Point, Request, SweepRequest
from harness.experiments.study import Row
from harness.planning.stage import require_images
from harness.planning.task import Task, task, tasks
from harness.store.runs import Run, Store
from harness.system import plugins
from harness.system.errors import Mistake

NAMED = 7  # rows in a label


@dataclass(frozen=True)
class Plan:
    """A request, its experiments by row, and its tasks, each with a label that names the rows that read it."""

    request: Request
    by_row: dict[Row, list[Experiment]]
    labels: dict[Task, str]

    @property
    def tasks(self) -> list[Task]:
        """Every task once, inputs before their readers."""
        return list(self.labels)

    def is_done(self, store: Store) -> bool:
        """Whether every run is done."""
        return all(t.run_in(store).state == "done" for t in self.tasks)

    def runs_by_seed(self, store: Store) -> dict[int, list[Run]]:
        """The runs of every seed; their folders may be missing."""
        by_seed: dict[int, list[Run]] = {}
        for experiment in (e for of_row in self.by_row.values() for e in of_row):
            runs = [t.run_in(store) for t in tasks([experiment], self.request.stages(experiment))]
            by_seed.setdefault(experiment.seed, []).extend(runs)
        return by_seed

    def require_data(self) -> None:
        """Raises `Mistake` if the data is not on this machine; without it the keys are provisional."""
        require_data(self.request)


def require_data(request: Request) -> None:
    """Raises `Mistake` if data of a request are not on this machine, those of `evaluation.transfer` included."""
    for data in dict.fromkeys(experiment.data for experiment in _measured(request)):
        plugins.load("harness.data.sets", data.name, "data set").require(data)


def opened_data(requests: Iterable[Request], store: Store) -> list[str]:
    """Opens images that are to be read, for some seconds, and says what a plan has to say of its data.

    Raises what the stage `data` would raise for them. If data are not on this machine, the keys are provisional.
    """
    said: list[str] = []
    measured: dict[Data, list[Experiment]] = {}
    for request in requests:
        try:
            require_data(request)
        except Mistake as absent:
            said.append(
                "warning: these data are not on this machine, so that the plan cannot tell what is done already: "
                f"{absent}. A run ends here with this error."
            )
            continue
        for experiment in _measured(request):
            if task("data", experiment).run_in(store).state != "done":
                measured.setdefault(experiment.data, []).append(experiment)
    for data, experiments in measured.items():
        if (tried := trial.opened(data)) is not None:
            for experiment in experiments:
                require_images(experiment, tried.images)
            said.append(tried.about(data))
    return list(dict.fromkeys(filter(None, said)))


def require_enough(request: Request) -> None:
    """Raises `Mistake` if the data of a row has fewer images than its batches or metrics take, as far as is known."""
    for experiment in _measured(request):
        recipe = task("data", experiment).identity["config"]["recipe"]
        require_images(experiment, recipe.get("images", experiment.data.limits))


def require_accepted(planned: Iterable[Task], store: Store) -> None:
    """Raises `Mistake` or `Trouble`, as the stage did, if data were refused. A bug in it fails like other stages."""
    for t in planned:
        if t.stage == "data" and (refusal := t.run_in(store).refusal) is not None:
            raise refusal


def _measured(request: Request) -> list[Experiment]:
    """The experiments of the chosen rows with seed 0, and those on other data that their tokenizers are measured on."""
    rows = [request.experiment(row) for row in request.chosen_rows()]
    return [*rows, *(other for row in rows if (other := row.transferred) is not None)]


def plan_of(request: Request) -> Plan:
    """The plan of a request; raises `Mistake`."""
    by_row = request.experiments()
    named = [
        (row.name if len(experiments) == 1 else f"{row.name} seed {seed_text(experiment)}", experiment)
        for row, experiments in by_row.items()
        for experiment in experiments
    ]
    readers: dict[Task, list[str]] = {}
    for name, experiment in named:
        for t in tasks([experiment], request.stages(experiment)):
            readers.setdefault(t, []).append(name)
    return Plan(request, by_row, {t: _label(names, len(named)) for t, names in readers.items()})


def seed_text(experiment: Experiment) -> str:
    """The seed of an experiment, and those of its generator and samples where they are others."""
    others = [str(s) for s in (experiment.generator_seed, experiment.sampling_seed) if s is not None]
    return " / ".join([str(experiment.seed), *others])


def _label(names: list[str], total: int) -> str:
    """The rows that read a task, as one short text."""
    if len(names) == total > 1:
        return "all rows"
    return ", ".join(names) if len(names) <= NAMED else f"{len(names)} rows"


def require_influence(request: SweepRequest) -> None:
    """Raises `Mistake` if an axis has no influence on any objective."""
    point = request.middle()
    for a in request.axes:
        keys = set()
        for value in set(a.values):
            moved = Point(point.row, tuple((f, value if f == a.field else v) for f, v in point.values))
            keys |= {task(o.stage, e).key for o in request.objectives for e in request.experiments_of(moved)[:1]}
        if len(keys) == len(request.objectives) and len(a.grid) != 1:
            raise Mistake(f"{a.field} has no influence on {' and '.join(o.title for o in request.objectives)}")
