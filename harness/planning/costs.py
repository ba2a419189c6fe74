"""The costs of a plan before it runs: model FLOPs and so GPU-hours, samples and disk from the configurations, and the
time from earlier runs of the same stage at the same scale.
"""

from __future__ import annotations

import functools
import math
import shutil
import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tabulate import tabulate

from harness.planning.cluster import Cluster, Resources
from harness.planning.gpus import Pace
from harness.planning.stage import Size
from harness.planning.task import Task
from harness.store.runs import FINAL, Store
from harness.system.errors import Mistake

GIB = 2**30
UNITS = {"EFLOPs": 1e18, "PFLOPs": 1e15, "TFLOPs": 1e12}
Known = dict[tuple[str, str], float]  # seconds per unit, by stage and scale
NAMED = 3  # stages in the message that refuses a plan


@dataclass(frozen=True)
class Kind:
    """All missing tasks of one stage, and the resources of one of its jobs."""

    stage: str
    tasks: tuple[Task, ...]
    resources: Resources

    @functools.cached_property
    def sizes(self) -> list[Size]:
        """The size of every task."""
        return [size_of(t) for t in self.tasks]

    @property
    def flops(self) -> float:
        """The model FLOPs of all tasks together."""
        return sum(size.flops for size in self.sizes)

    @property
    def after(self) -> list[str]:
        """The stages that must be done before."""
        return list(dict.fromkeys(name for t in self.tasks for name in t.inputs))

    @property
    def limit_hours(self) -> float:
        """The hours that a job may take over all its attempts; a stage that cannot resume has one attempt."""
        attempts = 1 + self.resources.timeouts if getattr(self.tasks[0].module, "resumes", False) else 1
        return attempts * self.resources.hours

    @property
    def gpus(self) -> int:
        """The GPUs of a job."""
        return self.resources.nodes * self.resources.processes * self.resources.gpus

    def hours(self, pace: Pace) -> float:
        """The hours of the longest job on all of its GPUs, or on one GPU if it gets none."""
        return pace.hours(max(size.flops for size in self.sizes), self.stage) / max(1, self.gpus)


def size_of(t: Task) -> Size:
    """The work and the disk usage of a task."""
    size: Size = t.module.size(t.experiment)
    return size


def plan_table(planned: list[Task], labels: dict[Task, str], store: Store, cluster: Cluster, pace: Pace) -> str:
    """A plan as text: every task, the missing tasks by stage, the resources of their jobs, and the totals."""
    missing = [t for t in planned if t.run_in(store).state not in FINAL]
    kinds = _kinds(missing, cluster)
    unit = _unit(sum(kind.flops for kind in kinds) or sum(size_of(t).flops for t in planned))
    known = _seconds_per_unit(store)
    parts = [_tasks_table(planned, labels, store, known, unit, pace)]
    if not missing:
        return f"{parts[0]}\n\nAll {len(planned)} stages are done."
    parts += [f"Missing, by stage, on one {pace}:\n\n{_kinds_table(kinds, unit, pace)}"]
    parts += [f"Resources of a job with --executor slurm:\n\n{_resources_table(kinds)}"]
    if warnings := list(_warnings(kinds, pace)):
        parts.append("\n".join(warnings))
    return "\n\n".join([*parts, _total(len(planned), kinds, store, known, unit, pace)])


class Price(NamedTuple):
    """The missing tasks of a plan, their model FLOPs, and their GPU-hours."""

    missing: int
    flops: float
    gpu_hours: float


def price(planned: list[Task], store: Store, pace: Pace) -> Price:
    """What is missing of a plan, and what it costs."""
    kinds = _kinds([t for t in planned if t.run_in(store).state not in FINAL], Cluster())
    return Price(sum(len(k.tasks) for k in kinds), sum(k.flops for k in kinds), _gpu_hours(kinds, pace))


def require_gpu_hours(waiting: list[Task], pace: Pace, limit: float | None, times: int = 1) -> None:
    """Raises `Mistake` if `times` times these tasks take more than `limit` GPU-hours; None is no limit."""
    kinds = sorted(_kinds(waiting, Cluster()), key=lambda kind: -kind.flops)
    hours = times * _gpu_hours(kinds, pace)
    if limit is not None and hours > limit:
        largest = ", ".join(
            f"{len(kind.tasks) * times} x {kind.stage} {_digits(times * pace.hours(kind.flops, kind.stage))}"
            for kind in kinds[:NAMED]
        )
        raise Mistake(
            f"the missing stages take about {_digits(hours)} GPU-hours on one {pace}, more than --max-gpu-hours "
            f"{limit:g}: {largest}"
        )


def _gpu_hours(kinds: list[Kind], pace: Pace) -> float:
    return sum(pace.hours(kind.flops, kind.stage) for kind in kinds)


def _warnings(kinds: list[Kind], pace: Pace) -> Iterator[str]:
    """A line for every stage whose jobs would reach their last time limit before they finish."""
    for kind in kinds:
        if kind.hours(pace) > kind.limit_hours:
            on = "its GPUs" if kind.gpus else "one GPU, although it gets none,"
            yield (
                f"warning: a job of {kind.stage} takes about {_digits(kind.hours(pace))} hours on {on} and may take "
                f"at most {kind.limit_hours:g}"
            )


def _kinds(tasks: Iterable[Task], cluster: Cluster) -> list[Kind]:
    by_stage: dict[str, list[Task]] = {}
    for t in tasks:
        by_stage.setdefault(t.stage, []).append(t)
    return [
        Kind(stage, tuple(of_stage), cluster.resources(stage, of_stage[0].experiment.scale))
        for stage, of_stage in by_stage.items()
    ]


def _tasks_table(
    planned: list[Task], labels: dict[Task, str], store: Store, known: Known, unit: str, pace: Pace
) -> str:
    rows = []
    for t in planned:
        size, state = size_of(t), t.run_in(store).state
        time = "cached" if state in FINAL else _time(known.get((t.stage, t.experiment.scale)), size)
        cost = _digits(size.flops / UNITS[unit]), _digits(pace.hours(size.flops, t.stage))
        rows.append((t.stage, labels[t], t.key, state, time, f"{size.bytes / 2**20:.1f}", *cost))
    headers = ("stage", "rows", "key", "state", "time", "MiB", unit, "GPU-hours")
    return tabulate(rows, headers=headers, disable_numparse=True)


def _time(seconds_per_unit: float | None, size: Size) -> str:
    return "unknown" if seconds_per_unit is None else f"{seconds_per_unit * size.units:.0f} s"


def _kinds_table(kinds: list[Kind], unit: str, pace: Pace) -> str:
    rows = [
        (
            len(kind.tasks),
            kind.stage,
            _digits(kind.flops / UNITS[unit]),
            _digits(pace.hours(kind.flops, kind.stage)),
            _digits(kind.hours(pace)),
            f"{sum(size.samples for size in kind.sizes):,}",
            _digits(sum(size.bytes for size in kind.sizes) / GIB),
            ", ".join(kind.after),
        )
        for kind in kinds
    ]
    headers = ("jobs", "stage", unit, "GPU-hours", "hours a job", "samples", "GiB", "after")
    return tabulate(rows, headers=headers, disable_numparse=True)


def _resources_table(kinds: list[Kind]) -> str:
    stages: dict[Resources, list[str]] = {}
    for kind in kinds:
        stages.setdefault(kind.resources, []).append(kind.stage)
    rows = [
        (
            f"{r.nodes} x {r.processes}",
            f"{r.gpus} x {r.nodes * r.processes}",
            f"{r.cpus} x {r.nodes * r.processes}",
            f"{r.memory_gib} GiB",
            f"{r.hours:g} h",
            r.timeouts,
            r.accumulate,
            r.partition or "default",
            ", ".join(names),
        )
        for r, names in stages.items()
    ]
    headers = (
        "nodes x processes",
        "GPUs",
        "CPUs",
        "of a node",
        "limit",
        "requeued",
        "accumulate",
        "partition",
        "stages",
    )
    return tabulate(rows, headers=headers, disable_numparse=True)


def _total(stages: int, kinds: list[Kind], store: Store, known: Known, unit: str, pace: Pace) -> str:
    sizes = [(kind, size) for kind in kinds for size in kind.sizes]
    paces = [known.get((kind.stage, kind.tasks[0].experiment.scale)) for kind, _ in sizes]
    seconds = sum((expected or 0) * size.units for expected, (_, size) in zip(paces, sizes, strict=True))
    time = f"{seconds / 60:.0f} min by earlier runs at this scale" if seconds else "time unknown without earlier runs"
    time += f", {paces.count(None)} stages unknown" if None in paces and seconds else ""
    flops = sum(size.flops for _, size in sizes)
    cost = f"{_digits(flops / UNITS[unit])} {unit}, {_digits(_gpu_hours(kinds, pace))} GPU-hours on one {pace}"
    disk, free = sum(size.bytes for _, size in sizes), shutil.disk_usage(_existing(store.root)).free
    return (
        f"{len(sizes)} of {stages} stages to run; {cost}; {sum(size.samples for _, size in sizes):,} samples; {time}; "
        f"{disk / GIB:.2f} GiB of {free / GIB:.0f} GiB free"
    )


def _unit(flops: float) -> str:
    """The largest unit that `flops` reaches, else the smallest one."""
    return next((unit for unit, one in UNITS.items() if flops >= one), "TFLOPs")


def _digits(value: float) -> str:
    """The value with three significant digits and at most three decimals."""
    if value == 0:
        return "0"
    if value < 0.001:
        return "< 0.001"
    return f"{value:,.{min(3, max(0, 2 - math.floor(math.log10(value))))}f}"


def _seconds_per_unit(store: Store) -> Known:
    """The median seconds per unit of the finished runs of each stage and scale."""
    seen: dict[tuple[str, str], list[float]] = {}
    for run in store.runs():
        if run.state == "done":
            scale = run.status()["attempts"][-1]["environment"]["scale"]
            seen.setdefault((run.stage, scale), []).append(run.seconds / run.fact("units"))
    return {known: statistics.median(paces) for known, paces in seen.items()}


def _existing(path: Path) -> Path:
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path
