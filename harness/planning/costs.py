"""The costs of a plan before it runs: model FLOPs and so GPU-hours, samples and disk from the configurations, and the
time from earlier runs of the same stage at the same scale.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import psutil

from harness.planning.cluster import Cluster, Resources
from harness.planning.durations import Durations
from harness.planning.gpus import Pace
from harness.planning.stage import Size
from harness.planning.task import Task, size_of
from harness.store.runs import FINAL, Store
from harness.system import terminal
from harness.system.errors import Mistake
from harness.system.progress import duration
from harness.system.texts import counted

GIB = 2**30
UNITS = {"EFLOPs": 1e18, "PFLOPs": 1e15, "TFLOPs": 1e12}
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
    def jobs(self) -> int:
        """The number of jobs."""
        return math.ceil(len(self.tasks) / self.resources.together)

    @property
    def gpus(self) -> int:
        """The GPUs of a job."""
        return self.resources.nodes * self.resources.processes * self.resources.gpus

    def hours(self, pace: Pace) -> float:
        """The hours of the longest job on all of its GPUs, or on one GPU if it gets none.

        Tasks that run side by side are counted as one after another: it is not known what they gain.
        """
        longest = sorted((size.flops for size in self.sizes), reverse=True)[: self.resources.together]
        return pace.hours(sum(longest), self.stage) / max(1, self.gpus)


def plan_text(
    planned: list[Task],
    labels: dict[Task, str],
    store: Store,
    cluster: Cluster,
    pace: Pace,
    times: int = 1,
    details: bool = False,
) -> str:
    """A plan as text: what it takes `times` times; with `details` every task, and the resources of the jobs too."""
    kinds = _kinds([t for t in planned if t.run_in(store).state not in FINAL], cluster)
    durations = Durations(store)
    unit = _unit(sum(kind.flops for kind in kinds) or sum(size_of(t).flops for t in planned))
    parts = [_tasks_table(planned, labels, store, durations, unit, pace)] if details else []
    if not kinds:
        return "\n\n".join([*parts, f"All {len(planned)} stages are done."])
    if details:
        parts += [f"Missing, by stage, on one {pace}:\n\n{_kinds_table(kinds, unit, pace)}"]
        parts += [f"Resources of a job with --executor slurm:\n\n{_resources_table(kinds)}"]
    parts.append(
        f"{_heading(len(planned), kinds, times, details)}\n{_totals(kinds, store, durations, unit, pace, times)}"
    )
    missing = [t for kind in kinds for t in kind.tasks]
    warnings = [*_slow_jobs(kinds, pace), *filter(None, [disk_trouble(missing, store, times)])]
    return "\n\n".join(
        [*parts, *([terminal.prose("\n".join(f"warning: {text}" for text in warnings))] if warnings else [])]
    )


def require_disk(waiting: Iterable[Task], store: Store, agreed: bool, times: int = 1) -> None:
    """Raises `Mistake` if `times` times these tasks leave more than is free, unless the user has agreed to that."""
    trouble = disk_trouble(waiting, store, times)
    if trouble and not agreed:
        raise Mistake(f"{trouble}: --runs names a folder on another disk, --yes goes on until this one is full")


def disk_trouble(missing: Iterable[Task], store: Store, times: int = 1) -> str:
    """What to say if `times` times these tasks leave more on the disk of the store than is free; else nothing."""
    needed, free = times * sum(size_of(t).bytes for t in missing), _free_bytes(store)
    if needed <= free:
        return ""
    return f"the missing stages leave {needed / GIB:,.0f} GiB, and {free / GIB:,.0f} GiB are free at {store.root}"


class Price(NamedTuple):
    """The missing tasks of a plan, and their GPU-hours."""

    missing: int
    gpu_hours: float


def price(planned: list[Task], store: Store, pace: Pace) -> Price:
    """What is missing of a plan, and what it costs."""
    kinds = _kinds([t for t in planned if t.run_in(store).state not in FINAL], Cluster())
    return Price(sum(len(k.tasks) for k in kinds), _gpu_hours(kinds, pace))


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


def _slow_jobs(kinds: list[Kind], pace: Pace) -> Iterator[str]:
    """A line for every stage whose jobs would reach their last time limit before they finish."""
    for kind in kinds:
        if kind.hours(pace) > kind.limit_hours:
            on = "its GPUs" if kind.gpus else "one GPU, although it gets none,"
            yield (
                f"a job of {kind.stage} takes about {_digits(kind.hours(pace))} hours on {on} and may take at most "
                f"{kind.limit_hours:g}"
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
    planned: list[Task], labels: dict[Task, str], store: Store, durations: Durations, unit: str, pace: Pace
) -> str:
    rows = []
    for t in planned:
        size, state, seconds = size_of(t), t.run_in(store).state, durations.seconds(t)
        time = "cached" if state in FINAL else "unknown" if seconds is None else f"{seconds:.0f} s"
        cost = _digits(size.flops / UNITS[unit]), _digits(pace.hours(size.flops, t.stage))
        rows.append((t.stage, labels[t], t.key, state, time, f"{size.bytes / 2**20:.1f}", *cost))
    headers = ("stage", "rows", "key", "state", "time", "MiB", unit, "GPU-hours")
    return terminal.table(rows, headers, spare=("key", unit, "MiB"))


def _kinds_table(kinds: list[Kind], unit: str, pace: Pace) -> str:
    rows = [
        (
            kind.jobs,
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
    headers = ("jobs", "stage", unit, "GPU-hours", "hours a job", "generated images", "GiB", "after")
    return terminal.table(rows, headers, spare=("after", "generated images", unit))


def _resources_table(kinds: list[Kind]) -> str:
    stages: dict[Resources, list[str]] = {}
    for kind in kinds:
        stages.setdefault(kind.resources, []).append(kind.stage)
    rows = [
        (
            f"{r.nodes} x {r.processes}",
            r.together,
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
        "together",
        "GPUs",
        "CPUs",
        "of a node",
        "limit",
        "requeued",
        "accumulate",
        "partition",
        "stages",
    )
    return terminal.table(rows, headers, spare=("requeued", "accumulate", "partition", "together"))


def _heading(stages: int, kinds: list[Kind], times: int, details: bool) -> str:
    missing = sum(len(kind.tasks) for kind in kinds)
    often = f", {times} times" if times > 1 else ""
    return f"{missing} of {counted(stages, 'stage')} to run{often}{'' if details else ' (--details names them)'}:"


def _totals(kinds: list[Kind], store: Store, durations: Durations, unit: str, pace: Pace, times: int) -> str:
    """What all missing stages take, `times` times."""
    sizes = [size for kind in kinds for size in kind.sizes]
    flops, hours = times * sum(size.flops for size in sizes), times * _gpu_hours(kinds, pace)
    known = [durations.seconds(t) for kind in kinds for t in kind.tasks]
    seconds, unknown = times * sum(s for s in known if s is not None), known.count(None)
    time = f"{duration(seconds)} by earlier runs, one stage at a time" if seconds else "unknown without earlier runs"
    time += f"; {counted(times * unknown, 'stage')} unknown" if unknown and seconds else ""
    disk = times * sum(size.bytes for size in sizes) / GIB
    about = {
        "compute": f"{_digits(flops / UNITS[unit])} {unit}, {_digits(hours)} GPU-hours on one {pace}",
        "time": time,
        "samples": counted(times * sum(size.samples for size in sizes), "generated image"),
        "disk": f"{disk:.2f} GiB of {_free_bytes(store) / GIB:.0f} GiB free",
    }
    return terminal.entries(about)


def _free_bytes(store: Store) -> int:
    """The free bytes of the disk on which the store is or will be."""
    path = store.root.absolute()
    return psutil.disk_usage(str(next(p for p in (path, *path.parents) if p.exists()))).free


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
