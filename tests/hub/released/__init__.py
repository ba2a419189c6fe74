"""Random weights in released layouts, one file each, and small implementations of the released networks.

A file offers `CASES`: of every form of its layout a state dict and the outputs that its network has, by a name whose
first word is the layout. They are written from formulas and share no code with what they test.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable

from tests.hub.layouts.writer import Case

CASES: dict[str, Callable[[], Case]] = {
    name: case
    for file in pkgutil.iter_modules(__path__)
    for name, case in importlib.import_module(f"{__name__}.{file.name}").CASES.items()
}
