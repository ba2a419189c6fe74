"""The cluster file: the resources of a job of each stage and scale. TOML; a later table overrides an earlier one:

    [default]                     every job
    [tokenizer]                   a stage
    [paper256]                    a scale
    [paper256.tokenizer]          a stage at a scale

If no file is named, `cluster.toml` in the current folder is read. Two commented examples are in
`harness/planning/clusters/`.
"""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from harness.experiments.fields import with_fields
from harness.experiments.scales import SCALES
from harness.planning.stage import Execution
from harness.system import plugins
from harness.system.errors import Mistake, unknown
from models.config import STRICT

FILE = Path("cluster.toml")
# The limits refuse what cannot be meant. A name goes to Slurm, so it has no quotes, blanks or control characters.
Name = Annotated[str, Field(pattern=r"^[\w.,@+-]*$", max_length=200)]
Constraint = Annotated[str, Field(pattern=r"^[\w.,:@+&|*()\[\]-]*$", max_length=200)]
Count = Annotated[int, Field(gt=0, le=4096)]


@dataclass(frozen=True, config=STRICT | {"strict": True})
class Resources:
    """The resources of one job. An empty text leaves the choice to the cluster.

    `processes` is the number per node; they share the work of a stage that can be shared. `cpus` and `gpus` are per
    process, memory is per node. `together`: how many tasks of one stage a job runs side by side; they share its cores
    evenly, its GPUs and its memory, and each has one process. `accumulate`, `checkpointing` and `compile` are fields of
    `harness.planning.stage.Execution`. `at_once`: how many jobs of one array may run at the same time. Slurm warns a
    job `warning_seconds` before its limit; the job saves at its next step and returns to the queue, at most `timeouts`
    times. Submitit counts a preemption as a timeout too if it comes in the last ten minutes or the last fifth of the
    limit.
    """

    partition: Name = ""
    account: Name = ""
    qos: Name = ""
    constraint: Constraint = ""
    nodes: Count = 1
    processes: Count = 1
    together: Count = 1
    cpus: Count = 2
    gpus: Annotated[int, Field(ge=0, le=4096)] = 0
    memory_gib: Annotated[int, Field(gt=0, le=2**20)] = 8
    hours: Annotated[float, Field(gt=0, le=8784, allow_inf_nan=False)] = 4.0
    warning_seconds: Annotated[int, Field(ge=30, le=86400)] = 90
    at_once: Annotated[int, Field(gt=0, le=10**6)] = 16
    accumulate: Count = 1
    checkpointing: bool = False
    compile: bool = False
    timeouts: Annotated[int, Field(ge=0, le=10**6)] = 20

    @property
    def execution(self) -> Execution:
        """How a process computes a training step."""
        return Execution(self.accumulate, self.checkpointing, self.compile)

    @property
    def threads(self) -> int:
        """The threads of a process, the same whether or not a job has all of the tasks that it may have."""
        return self.cpus // self.together

    def __post_init__(self) -> None:
        if self.together > 1 and self.nodes * self.processes > 1:
            raise ValueError(
                f"together = {self.together} with {self.nodes} x {self.processes} processes: tasks that run side by "
                "side have one process each"
            )
        if self.together > self.cpus:
            raise ValueError(f"together = {self.together} tasks need as many cpus, and there are {self.cpus}")
        # A warning that comes before the job has imported its code would kill the job.
        if 3600 * self.hours < self.warning_seconds + 120:
            raise ValueError(
                f"hours = {self.hours:g} leaves less than two minutes before the warning, which comes "
                f"{self.warning_seconds} s before the limit"
            )


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The tables of a checked cluster file."""

    tables: dict[str, Any] = dataclasses.field(default_factory=dict)

    def resources(self, stage: str, scale: str) -> Resources:
        """The resources of a job of `stage` at `scale`; one process if the stage cannot be shared."""
        tables = [self.tables.get(name, {}) for name in ("default", stage, scale)]
        fields: dict[str, object] = {}
        for table in (*tables, self.tables.get(scale, {}).get(stage, {})):
            fields |= {name: value for name, value in table.items() if not isinstance(value, dict)}
        resources = with_fields(Resources(), fields)  # all at once: only the final state is checked
        shared = getattr(plugins.load("harness.stages", stage, "stage"), "parallel", False)
        return resources if shared else dataclasses.replace(resources, nodes=1, processes=1)


def load(path: Path | None) -> Cluster:
    """The cluster file at `path`, or the one in the current folder, or the defaults; raises `Mistake`."""
    if path is None and not FILE.exists():
        return Cluster()
    path = path or FILE
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise Mistake(f"the cluster file {path} does not exist") from None
    except ValueError as error:  # not TOML, or not text
        raise Mistake(f"{path} is not a cluster file: {error}") from None
    cluster, stages = Cluster(tables), plugins.names("harness.stages")
    for name, table in tables.items():
        if name not in ("default", *SCALES, *stages):
            raise unknown(f"table in {path}:", name, ("default", *SCALES, *stages))
        if not isinstance(table, dict):
            raise Mistake(f"{path}: {name} should be a table, [{name}]")
        for inner in (key for key, value in table.items() if isinstance(value, dict)):
            if name not in SCALES or inner not in stages:
                raise unknown(f"table in {path}: [{name}.{inner}],", inner, stages)
    try:
        for scale in SCALES:
            for stage in stages:
                cluster.resources(stage, scale)
    except Mistake as error:
        raise Mistake(f"{path}: {error}") from None
    return cluster
