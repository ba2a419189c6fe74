"""The form of a run in a file of results; what comes from elsewhere is checked against it before anything is kept."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter
from pydantic.dataclasses import dataclass

from harness.store.runs import KEY, STAGE

# Numbers are finite, types are those of JSON (a text is no number), and there are no other fields.
FORM = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

Stage = Annotated[str, Field(pattern=f"^{STAGE.pattern}$")]
Key = Annotated[str, Field(pattern=f"^{KEY.pattern}$")]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$", max_length=100)]
Line = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]*$", max_length=5000)]  # of printable characters
Path = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][\w.-]*(/[A-Za-z0-9_][\w.-]*)*$", max_length=300)]  # stays inside
Value = Annotated[str, Field(max_length=5000)] | float | int | bool | None


@dataclass(config=FORM)
class Config:
    """What is hashed into the key."""

    stage: Stage
    revision: Count
    config: dict[str, Any]
    inputs: dict[Stage, Key]


@dataclass(config=FORM | {"extra": "allow"})
class Environment:
    """The machine and the code; later code may record more."""

    commit: Line
    uncommitted: str
    scale: Line
    device: Line
    dtype: Line
    threads: Count
    processor: Line
    python: Line
    versions: dict[Line, Line]


@dataclass(config=FORM)
class Attempt:
    """One attempt; `began` is Unix time."""

    began: Annotated[float, Field(ge=0, lt=1e11)]
    seconds: Annotated[float, Field(ge=0)]
    outcome: Name
    environment: Environment


@dataclass(config=FORM)
class Status:
    """Only finished runs are exchanged."""

    state: Literal["done"]
    reason: str
    attempts: Annotated[list[Attempt], Field(min_length=1)]


@dataclass(config=FORM)
class StoredRecord:
    """See `harness.store.records.Record`."""

    metric: Name
    value: float
    n: Count
    step: Count
    split: Line
    protocol: Line
    deviation: float | None = None
    interval: tuple[float, float] | None = None
    protocol_id: Annotated[str, Field(pattern="^[A-Za-z0-9_.-]*$")] = ""


@dataclass(config=FORM)
class File:
    """Size and checksum of a file of the result."""

    bytes: Count
    sha256: Sha256


@dataclass(config=FORM | {"extra": "allow"})
class Facts:
    """Facts that the stage recorded."""

    units: Annotated[int, Field(gt=0, lt=2**63)]


@dataclass(config=FORM)
class Result:
    """The numbers of a run, and the files that it made."""

    records: list[StoredRecord]
    facts: Facts
    files: dict[Path, File]


@dataclass(config=FORM)
class ExportedRun:
    """One line of a file of results."""

    sha256: Sha256
    stage: Stage
    key: Key
    config: Config
    experiment: dict[str, Value | list[Value | list[Value]]]
    status: Status
    result: Result
    curves: Annotated[str | None, Field(alias="metrics.csv")] = None


EXPORTED_RUN = TypeAdapter(ExportedRun)
