"""Dotted fields of frozen configurations: read, set, compared."""

from __future__ import annotations

import dataclasses
import re
from typing import Any, TypeVar

from pydantic import ValidationError

from harness.system.errors import Mistake, did_you_mean, unknown

Config = TypeVar("Config")
QUOTED = re.compile(r"'([^']+)'")


def with_fields(config: Config, fields: dict[str, object], prefix: str = "") -> Config:
    """`config` with dotted `fields` replaced, e.g. {"tokenizer.masking.max_ratio": 0.5}; values may be text.

    All fields are set at once, so that checks across fields see only the final state.
    Raises `Mistake` for a field that does not exist and for a value out of range.
    """
    value_of: Any = config
    choices = [f.name for f in dataclasses.fields(value_of)]
    below: dict[str, dict[str, object]] = {}
    changes: dict[str, object] = {}
    for path, value in fields.items():
        name, _, rest = path.partition(".")
        if name not in choices:
            raise unknown(f"field {prefix + path!r}: no", name, choices)
        group = dataclasses.is_dataclass(getattr(config, name))
        if group and not rest:
            parts = ", ".join(f.name for f in dataclasses.fields(getattr(config, name)))
            raise Mistake(f"{prefix + name} is a group of fields, set one of: {parts}")
        if rest and not group:
            raise Mistake(f"unknown field {prefix + path!r}: {prefix + name} is a value, not a group")
        if rest:
            below.setdefault(name, {})[rest] = value
        else:
            changes[name] = value
    for name, inner in below.items():
        changes[name] = with_fields(getattr(config, name), inner, f"{prefix}{name}.")
    try:
        return dataclasses.replace(value_of, **changes)
    except ValidationError as error:
        raise Mistake(_one_line(error, prefix)) from None


def _one_line(error: ValidationError, prefix: str) -> str:
    first = error.errors()[0]
    message = first["msg"].removeprefix("Value error, ").replace("Input should", "should")
    field = ".".join(str(part) for part in first["loc"])
    if first["type"] == "literal_error" and (hint := did_you_mean(str(first["input"]), QUOTED.findall(message))):
        message += f".{hint}"
    return f"{prefix}{field} = {first['input']}: {message}" if field else message


def flat(config: Any, prefix: str = "", active_only: bool = False) -> dict[str, object]:
    """The fields of `config` by dotted path: all of them, or only those of active parts."""
    fields: dict[str, object] = {}
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        path = f"{prefix}{f.name}"
        if not dataclasses.is_dataclass(value):
            fields[path] = value
        elif not active_only or getattr(value, "active", True):
            fields |= flat(value, f"{path}.", active_only)
    return fields


def differences(a: Any, b: Any) -> dict[str, tuple[object, object]]:
    """The dotted fields that differ between `a` and `b` and are active in at least one of them."""
    fields_a, fields_b = flat(a), flat(b)
    active = flat(a, active_only=True) | flat(b, active_only=True)
    return {path: (fields_a[path], fields_b[path]) for path in active if fields_a[path] != fields_b[path]}
