"""The forms of the files of a run, and of a run in a file of results.

The store checks what it reads; what comes from elsewhere is checked before anything is kept.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field, TypeAdapter, with_config
from pydantic.dataclasses import dataclass
from typing_extensions import TypedDict  # that of typing lacks what pydantic needs before Python 3.12

STAGE = re.compile("[a-z][a-z0-9_]*")  # names of folders in the store
KEY = re.compile("[0-9a-f]{16}")
# Numbers are finite, types are those of JSON (a text is no number), and there are no other fields.
FORM = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
STORED = ConfigDict(strict=True)  # of files in the store, which later code may extend
MORE = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)

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


@with_config(MORE)
class KnownFacts(TypedDict, total=False):
    """The facts of a run in the store that others read; there may be more."""

    units: Annotated[float, Field(gt=0)]
    classes: list[str]
    images: dict[str, int]
    content: str
    unreadable: list[str]
    passed_over: dict[str, int]
    damaged: list[str]
    guide: dict[str, float]
    how: str


@with_config(STORED | {"allow_inf_nan": False})
class KnownAttempt(TypedDict):
    """An attempt of a run in the store."""

    began: float
    seconds: float
    outcome: str
    environment: dict[str, Any]


@with_config(STORED)
class KnownStatus(TypedDict):
    """The status of a run in the store."""

    state: Literal["waiting", "running", "stopped", "failed", "diverged", "damaged", "done"]
    reason: str
    failure: NotRequired[str]  # see `harness.store.runs.FAILURES`; only of a failed run, and not in old stores
    attempts: list[KnownAttempt]


@with_config(MORE)
class KnownConfig(TypedDict, total=False):
    """The configuration of a run in the store."""

    stage: str
    inputs: dict[str, str]


@with_config(ConfigDict(strict=True, extra="forbid"))
class KnownRecord(TypedDict):
    """A number of a run in the store."""

    metric: str
    value: float
    n: int
    step: int
    split: str
    protocol: str
    deviation: NotRequired[float | None]
    interval: NotRequired[Annotated[list[float], Field(min_length=2, max_length=2)] | None]
    protocol_id: NotRequired[str]


@with_config(STORED)
class KnownResult(TypedDict):
    """The result of a run in the store."""

    records: list[KnownRecord]
    facts: KnownFacts
    files: dict[str, Any]


EXPORTED_RUN = TypeAdapter(ExportedRun)
FILES: dict[str, TypeAdapter[Any]] = {
    "status.json": TypeAdapter(KnownStatus),
    "config.json": TypeAdapter(KnownConfig),
    "experiment.json": TypeAdapter(dict[str, Value | list[Value | list[Value]]]),
    "result.json": TypeAdapter(KnownResult),
}


def is_environment(recorded: dict[str, Any]) -> bool:
    """Whether the environment of an attempt has all that pages show."""
    needed = {field.name for field in dataclasses.fields(Environment)}
    return needed <= recorded.keys() and isinstance(recorded["versions"], dict) and isinstance(recorded["commit"], str)


def check(name: str, content: Any) -> None:
    """Raises ValueError if the content of the file `name` of a run does not have its form."""
    FILES[name].validate_python(content)
