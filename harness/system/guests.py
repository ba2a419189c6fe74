"""Python files of users, which lie anywhere and run in our processes."""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib.util
import os
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

OURS = ("ablations", "models", "reports", "tests")  # our packages whose names a user's may have
FOLDERS: list[Path] = []  # those of plug-ins, whose modules are imported for good
KEPT: dict[Path, dict[str, ModuleType]] = {}  # the modules that were imported from a folder, by their names


def beside(file: Path) -> list[Path]:
    """The Python files beside `file` that it imports, those that they import, and so on, in order of their names.

    Nothing is imported. Of a package all files count.
    """
    found, waiting = set[Path](), [file]
    while waiting:
        for name in imports(waiting.pop().read_bytes()):
            module, package = file.parent / f"{name}.py", file.parent / name
            new = {path for path in (module, *package.rglob("*.py")) if path.is_file()} - found - {file}
            found |= new
            waiting += new
    return sorted(found)


@functools.lru_cache
def imports(source: bytes) -> frozenset[str]:
    """The names of the modules that a Python file imports anywhere, up to the first dot; none if it is no Python."""
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return frozenset()
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level]
    return frozenset(name.partition(".")[0] for name in names)


def module_of(file: Path, name: str) -> ModuleType:
    """Runs a Python file as the module `name`, which stays imported unless it fails. Raises whatever it raises."""
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@contextlib.contextmanager
def neighbours(folder: Path) -> Iterator[None]:
    """Inside the block, what lies in `folder` can be imported.

    Other folders may have modules of the same names, and so may we.
    """
    kept = KEPT.setdefault(folder, {})
    hidden = {n: module for n, module in sys.modules.items() if n in kept or _hides(folder, n.partition(".")[0])}
    for name in hidden:
        del sys.modules[name]
    before = {name.partition(".")[0] for name in sys.modules}
    sys.modules.update(kept)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in [*sys.modules]:
            first = name.partition(".")[0]
            if name in kept or (first not in before and _lies_in(folder, first)):
                kept[name] = sys.modules.pop(name)
        sys.modules.update(hidden)


def _hides(folder: Path, name: str) -> bool:
    """Whether something in `folder` has the name of an imported module of ours, or beside a plug-in, and is another."""
    if (name not in OURS and not FOLDERS) or not _lies_in(folder, name):
        return False
    above = Path(str(getattr(sys.modules.get(name), "__file__", ""))).parents
    return folder not in above and (name in OURS or any(of_plugin in above for of_plugin in FOLDERS))


def _lies_in(folder: Path, name: str) -> bool:
    return (folder / f"{name}.py").is_file() or (folder / name).is_dir()


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Inside the block, draws without a generator are the same each time; after it, global settings are as before."""
    import numpy as np
    import torch

    from harness.system.randomness import seeded

    of_python, of_numpy, folder = random.getstate(), np.random.get_state(), os.getcwd()
    settings: list[tuple[Callable[[], Any], Callable[[Any], object]]] = [
        (torch.get_default_dtype, torch.set_default_dtype),
        (torch.get_default_device, lambda _: torch.set_default_device(None)),
        (torch.get_num_threads, torch.set_num_threads),
        (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
        (torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms),
        (torch.is_grad_enabled, torch.set_grad_enabled),
    ]
    before = [read() for read, _ in settings]
    try:
        with seeded("a guest"):
            random.seed(0)
            np.random.seed(0)
            yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)
        os.chdir(folder)
        for (read, write), value in zip(settings, before, strict=True):
            if read() != value:
                write(value)
