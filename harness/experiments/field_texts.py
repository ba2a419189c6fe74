"""What can be set: the fields of a configuration with their types, ranges, values and meanings, as texts.

The meaning of a field is the docstring below it in its class; type and range are those by which it is checked.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
from collections.abc import Iterator
from types import NoneType
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from pydantic.fields import FieldInfo

NUMBERS = {int: "whole number", float: "number"}
SLIP = 10**9  # bounds from here on only refuse slips of the finger
PLAIN = {bool: "true or false", str: "text"}


class FieldText(NamedTuple):
    """A field: its dotted path, the values that it takes, its value, and what it means."""

    path: str
    takes: str
    value: str
    meaning: str


class Group(NamedTuple):
    """The fields of one class, and what the class is."""

    prefix: str
    about: str
    fields: list[FieldText]


def groups(config: Any, prefix: str = "") -> Iterator[Group]:
    """The fields of `config` with their values there, its own first, then those of every group in it."""
    types, meanings = get_type_hints(type(config), include_extras=True), meanings_of(type(config))
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    inner = {name: value for name, value in values.items() if dataclasses.is_dataclass(value)}
    own = [
        FieldText(prefix + name, takes(types[name]), written(value), meanings[name])
        for name, value in values.items()
        if name not in inner
    ]
    yield Group(prefix, (inspect.getdoc(type(config)) or "").partition("\n")[0], own)
    for name, value in inner.items():
        yield from groups(value, f"{prefix}{name}.")


def meanings_of(config_class: type) -> dict[str, str]:
    """The docstring below every field of a class, by name, each in one line."""
    (definition,) = ast.parse(inspect.getsource(config_class)).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for field, below in itertools.pairwise(definition.body):
        if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            found[ast.unparse(field.target)] = " ".join(str(below.value.value).split())
    return found


def takes(annotation: Any) -> str:
    """The values that a field with this annotation takes."""
    base, *metadata = get_args(annotation) if get_origin(annotation) is Annotated else (annotation,)
    several = [part for part in get_args(base) if part is not NoneType]
    if get_origin(base) is Literal:
        return " or ".join(map(str, several))
    if get_origin(base) is tuple:
        pair = get_args(several[0]) if get_origin(several[0]) is tuple else ()
        return f"{f'LOW:HIGH, each a {takes(pair[0])}' if pair else takes(several[0])}, or several separated by commas"
    if several:  # a union with None
        return takes(Annotated[several[0], *metadata] if metadata else several[0])
    return PLAIN.get(base) or NUMBERS[base] + _range(metadata)


def _range(metadata: list[Any]) -> str:
    """The bounds that pydantic checks, e.g. " from 0 to below 1"."""
    bounds: dict[str, float] = {}
    for constraint in itertools.chain.from_iterable(m.metadata for m in metadata if isinstance(m, FieldInfo)):
        bounds |= {name: getattr(constraint, name) for name in ("ge", "gt", "le", "lt") if hasattr(constraint, name)}
    words = {"ge": "from", "gt": "above", "le": "to", "lt": "below"}
    return "".join(f" {words[name]} {bounds[name]:,}" for name in words if bounds.get(name, SLIP) < SLIP)


def written(value: object) -> str:
    """A value as `--set` takes it."""
    if isinstance(value, tuple):
        return ",".join(":".join(map(str, part)) if isinstance(part, tuple) else str(part) for part in value)
    return str(value).lower() if isinstance(value, bool) else str(value)
