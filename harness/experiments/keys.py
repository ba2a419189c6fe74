"""Keys: hexadecimal digits that stand for a value, the same on every machine."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any


def canonical(value: Any) -> Any:
    """`value` as JSON types, without parts that are not active and without fields that are None or False.

    So a new part or option that is off does not change the keys of old runs. Fields that a class names as `unhashed`
    are left out too.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        unhashed = getattr(value, "unhashed", ())
        items = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.name not in unhashed}
        return canonical({k: v for k, v in items.items() if getattr(v, "active", True)})
    if isinstance(value, dict):
        return {k: canonical(v) for k, v in value.items() if v is not None and v is not False}
    if isinstance(value, (list, tuple)):
        return [canonical(v) for v in value]
    return value


def key_of(value: Any) -> str:
    """16 hexadecimal digits that stand for `value`, the same on every machine."""
    text = json.dumps(canonical(value), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
