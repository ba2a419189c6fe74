"""Plugins (studies, stages, metrics, data sets): one file each, whose name is the name of the plugin."""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import pkgutil
from pathlib import Path
from types import ModuleType

from harness.system.errors import unknown


@functools.cache  # planning calls it ten thousand times
def names(package: str) -> list[str]:
    """The names of the modules of `package`; no module is imported."""
    path = importlib.import_module(package).__path__
    return sorted(m.name for m in pkgutil.iter_modules(path) if not m.name.startswith("_"))


def load(package: str, name: str, kind: str) -> ModuleType:
    """The module called `name`; raises `Mistake` with the nearest match if there is none."""
    if name not in names(package):
        raise unknown(kind, name, names(package))
    return importlib.import_module(f"{package}.{name}")


def summary(package: str, name: str) -> str:
    """The first line of a module's docstring; the module is not imported."""
    spec = importlib.util.find_spec(f"{package}.{name}")
    assert spec is not None and spec.origin is not None
    text = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0].rstrip(".")
