"""Requests that were written as JSON, read again and checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, NotRequired

from pydantic import Field, TypeAdapter
from typing_extensions import TypedDict

from harness.experiments.outside_rows import OutsideRow
from harness.experiments.requests import COUNTS, AblationRequest, Point, SweepRequest, new_request, study_called
from harness.experiments.scales import scale
from harness.experiments.seeds import MOST_REPEATS, MOST_SEEDS
from harness.experiments.sweep import Sweep


class _Point(TypedDict):
    row: str
    values: dict[str, Any]


class _Stored(TypedDict):
    study: str
    scale: str
    data: str | None
    fields: list[Annotated[list[str], Field(min_length=2, max_length=2)]]
    rows: list[str]
    seeds: Annotated[int, Field(ge=1, le=MOST_SEEDS, strict=True)]
    max_seeds: NotRequired[Annotated[int, Field(ge=1, le=MOST_SEEDS, strict=True)]]
    generator_seeds: NotRequired[Annotated[int, Field(ge=1, le=MOST_REPEATS, strict=True)]]
    sampling_seeds: NotRequired[Annotated[int, Field(ge=1, le=MOST_REPEATS, strict=True)]]
    tokenizers: NotRequired[list[OutsideRow]]
    space: NotRequired[list[str]]
    objective: NotRequired[str]
    points: NotRequired[list[_Point]]


_STORED = TypeAdapter(_Stored)


def request_from_json(content: Mapping[str, Any]) -> AblationRequest | SweepRequest:
    """The inverse of `Request.to_json`; raises `Mistake`, or KeyError and the like if `content` is no request."""
    _STORED.validate_python(content)
    parts: dict[str, Any] = {
        "data": content["data"],
        "fields": tuple((path, value) for path, value in content["fields"]),
        "rows": tuple(content["rows"]),
        "seeds": content["seeds"],
    }
    if isinstance(study_called(content["study"]), Sweep):
        points = tuple(Point(point["row"], tuple(point["values"].items())) for point in content["points"])
        parts |= {"space": tuple(content["space"]), "objective": content["objective"], "points": points}
    else:
        parts |= {name: content[name] for name in COUNTS if name in content}
        parts["tokenizers"] = tuple(OutsideRow(**tokenizer) for tokenizer in content.get("tokenizers", ()))
    return new_request(content["study"], scale(content["scale"]), **parts)
