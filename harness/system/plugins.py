"""Plug-ins: one file each, whose name is the name of the plug-in. Ours are in packages, a user's lie anywhere.

A user's files are named by `--plugins`, by the variable TOKENIZER_PLUGINS (files and folders, separated as in PATH), or
by the entry points `tokenizer_harness.plugins` of an installed package, each the name of a module or of a package. A
file is a plug-in of every kind of `KINDS` whose first name it defines. A file that is none may serve the others: its
folder can be imported from. A file that is broken is left out and named in one line. What a file prints while it is
imported goes to standard error.

Jobs and other processes inherit the variable, and import a user's files where they lie.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import importlib
import importlib.util
import os
import pkgutil
import sys
from collections.abc import Callable, Iterable, Sequence, Set
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from harness.system import guests, paths
from harness.system.errors import Mistake, did_you_mean, unknown
from harness.system.texts import printable

VARIABLE = "TOKENIZER_PLUGINS"
GROUP = "tokenizer_harness.plugins"


class Kind(NamedTuple):
    """A kind of plug-in: where ours are, and the names that a user's file has to define; the first tells the kind.

    `value`, MODULE:CLASS, is what the first name holds: one object, or with `several` a dictionary of them by name.
    `table`, MODULE:NAME, is a dictionary of ours that also gets a user's: these objects, else modules.
    """

    title: str
    package: str
    names: tuple[str, ...]
    value: str = ""
    several: bool = False
    table: str = ""


SCORE = ("measure", "protocol", "title", "about", "unit", "better", "digits", "splits")
TEACHERS = "harness.networks.teachers"
KINDS = (
    Kind("study", "ablations", ("study",), "harness.experiments.study:Study"),
    Kind("metric", "harness.evaluation.metrics", SCORE),
    Kind("data set", "harness.data.sets", ("build", "recipe", "require", "revision", "about", "attribution")),
    Kind("tokenizer", "models.tokenizers", ("PARTS", "latents", "cost", "network"), table="models.tokenizers:OUTSIDE"),
    Kind("generator", "models.generators", ("flow", "cost", "network"), table="models.generators:OUTSIDE"),
    Kind("variant", "models.variants", ("variants",), "models.variants:Variant", True, "models.variants:VARIANTS"),
    Kind("teacher", TEACHERS, ("teachers",), f"{TEACHERS}:Teacher", True, f"{TEACHERS}:TEACHERS"),
)
TYPES: dict[str, tuple[Any, str]] = {  # of names in a user's file, and in words
    **dict.fromkeys(("measure", "protocol"), (Callable, "function")),
    **dict.fromkeys(("build", "recipe", "require"), (Callable, "function")),
    **dict.fromkeys(("latents", "cost", "network"), (Callable, "function")),
    **dict.fromkeys(("title", "about", "unit", "better", "attribution"), (str, "text")),
    **dict.fromkeys(("splits", "tables"), (tuple | list, "tuple of names")),
    "digits": (int | str, "number"),
    "revision": (int, "number"),
    "PARTS": (Set, "set of names"),
    "flow": (bool, "True or False"),
}
NAMED = {  # what the names in such a tuple can be, MODULE:NAME
    "splits": "harness.experiments.plugin_metrics:SPLITS",
    "tables": "harness.experiments.plugin_metrics:TABLES",
}
BETTER = ("higher", "lower", "")
USERS: dict[str, dict[str, ModuleType]] = {}  # a user's modules, by package and name of the plug-in
SEEN: set[Path] = set()  # the files that were looked at


@functools.cache  # planning calls it ten thousand times
def names(package: str) -> list[str]:
    """The names of the plug-ins of a package, ours and a user's; ours are not imported."""
    return sorted({*ours(package), *USERS.get(package, ())})


@functools.cache
def ours(package: str) -> list[str]:
    """The names of the modules of `package`; none is imported."""
    path = importlib.import_module(package).__path__
    return sorted(m.name for m in pkgutil.iter_modules(path) if not m.name.startswith("_"))


def load(package: str, name: str, kind: str) -> ModuleType:
    """The module called `name`; raises `Mistake` with the nearest match if there is none."""
    if name not in names(package):
        raise no_such(kind, name, names(package))
    return USERS.get(package, {}).get(name) or importlib.import_module(f"{package}.{name}")


def no_such(kind: str, name: str, choices: Iterable[str]) -> Mistake:
    """The error for a name that is not there; it tells how a user brings one, where that is possible."""
    own = ", or your own: --plugins PATH" if kind in {k.title for k in KINDS} else ""
    return Mistake(f"{unknown(kind, name, choices)}{own}")


def summary(package: str, name: str) -> str:
    """The first line of a module's docstring; a module of ours is not imported."""
    if (module := USERS.get(package, {}).get(name)) is not None:
        text = module.__doc__ or ""
    else:
        spec = importlib.util.find_spec(f"{package}.{name}")
        assert spec is not None and spec.origin is not None
        text = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0].rstrip(".")


def code(package: str, name: str | None) -> str | None:
    """16 digits that stand for a user's file, None for ours: keys hold them, so that results follow their code.

    The files beside it that it imports count too.
    """
    module = USERS.get(package, {}).get(name or "")
    if module is None or module.__file__ is None:
        return None
    file = Path(module.__file__)
    return hashlib.sha256(b"".join(path.read_bytes() for path in [file, *guests.beside(file)])).hexdigest()[:16]


# A user's


def places() -> list[str]:
    """The files and folders in the variable, absolute."""
    named = os.environ.get(VARIABLE, "").split(os.pathsep)
    return [str(Path(place).expanduser().absolute()) for place in named if place]


def words() -> list[str]:
    """The options that name these places in a command in the working folder."""
    return [word for place in places() for word in ("--plugins", paths.from_here(place))]


def add(place: Path) -> None:
    """Adds a file or a folder to the variable. Raises `Mistake` if it is not there."""
    named = str(place.absolute())
    _files(place.absolute())
    if os.pathsep in named:
        raise Mistake(f"{named}: the name of a plug-in cannot hold {os.pathsep}")
    os.environ[VARIABLE] = os.pathsep.join(dict.fromkeys([*places(), named]))


def find(quiet: bool = False, study: Path | None = None) -> None:
    """Imports a user's plug-ins that were not seen before, and prints which are broken.

    Every process calls it before it looks for a name. Raises `Mistake` for a place that is not there, and if the file
    `study` has no study.
    """
    named = map(Path, places())
    for file in [file for place in (*_installed(quiet), *named) for file in _files(place)]:
        if file in SEEN:
            continue
        SEEN.add(file)
        try:
            _enter(file)
        except Mistake as broken:
            if file == study:
                raise
            if not quiet:
                _warn(str(broken))
        names.cache_clear()
    if study is not None and study.stem not in USERS.get("ablations", ()):
        raise Mistake(f"{study} has no study: study = Ablation(...) or study = Sweep(...)")


def _warn(problem: str) -> None:
    print(f"warning: {printable(problem)}; it is left out", file=sys.stderr)


@functools.cache
def _installed(quiet: bool) -> list[Path]:
    """The places that installed packages name."""
    found: list[Path] = []
    for point in entry_points(group=GROUP):
        try:
            spec = importlib.util.find_spec(point.value)
        except (Exception, SystemExit):  # whatever happens in the package that the module is in
            spec = None
        of_point = [] if spec is None else list(map(Path, spec.submodule_search_locations or [str(spec.origin)]))
        if of_point and all(place.is_dir() or place.suffix == ".py" for place in of_point):
            found += of_point
        elif not quiet:
            _warn(f"the plug-in {point.name} = {point.value} cannot be found as Python files")
    return found


def _files(place: Path) -> list[Path]:
    """The file, or the files of the folder. Raises `Mistake` if there is neither."""
    if why := paths.why_too_long(place):
        raise Mistake(why)
    if place.is_dir():
        return sorted(path for path in place.glob("*.py") if path.is_file() and not path.name.startswith(("_", ".")))
    named = paths.from_here(str(place))
    if not place.exists():
        raise Mistake(f"{named} is not there: a Python file or a folder of them is needed")
    if place.suffix != ".py" or not place.is_file():
        raise Mistake(f"{named} is not a Python file")
    return [place]


def _enter(file: Path) -> None:
    """Imports a file if it is a plug-in, and enters it as what it is. Raises `Mistake` if it is broken."""
    try:
        defined = _defined(ast.parse(file.read_text(encoding="utf-8")))
    except SyntaxError as error:
        raise Mistake(f"{file} cannot be read as Python: line {error.lineno}: {error.msg}") from None
    except (ValueError, OSError, RecursionError, MemoryError) as error:
        raise Mistake(f"{file} cannot be read as Python: {str(error) or type(error).__name__}") from None
    kinds = [kind for kind in KINDS if kind.names[0] in defined]
    if not kinds:
        return
    module = _imported(file)
    for kind, entries in [(kind, _entries(kind, module, file)) for kind in kinds]:
        USERS.setdefault(kind.package, {}).update(dict.fromkeys(entries, module))
        if kind.table:
            _object(kind.table).update(entries)


def _defined(tree: ast.Module) -> set[str]:
    """The names that a module defines or imports at its top."""
    found = set()
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            found |= {alias.asname or alias.name for alias in node.names}
    return found


def _imported(file: Path) -> ModuleType:
    """The module of a file; whatever goes wrong in it is a `Mistake`."""
    _require_own_neighbours(file)
    if file.parent not in guests.FOLDERS:
        guests.FOLDERS.append(file.parent)
        sys.path.append(str(file.parent))  # last: its neighbours hide nothing
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return guests.module_of(file, f"plugin_{file.stem}")
    except (Exception, SystemExit) as error:
        why = " ".join(str(error).split()).replace(f"plugin_{file.stem}", file.name)
        raise Mistake(f"{file} fails: {type(error).__name__}: {why}") from error


def _require_own_neighbours(file: Path) -> None:
    """Raises `Mistake` if a file imports a neighbour that another plug-in's neighbour would be taken for."""
    for mine in guests.beside(file):
        name = mine.relative_to(file.parent).parts[0]
        for other in guests.FOLDERS:
            if other != file.parent and (other / name).exists():
                raise Mistake(f"{file} imports {name} beside it, and {other} has a {name} too: rename one of them")


def _entries(kind: Kind, module: ModuleType, file: Path) -> dict[str, object]:
    """What a file adds to its kind, by name. Raises `Mistake` for what is lacking, wrong, or there already."""
    if lacking := [name for name in kind.names if not hasattr(module, name)]:
        raise Mistake(f"{file}: a {kind.title} also has to define {', '.join(lacking)}")
    for name in (*kind.names, "tables"):
        needed, words = TYPES.get(name, (object, ""))
        if hasattr(module, name) and not isinstance(found := getattr(module, name), needed):
            raise Mistake(f"{file}: {name} is {found!r}, no {words}")
    for name in NAMED if "splits" in kind.names else ():
        _require_names(file, name, getattr(module, name, ()))
    if "better" in kind.names and module.better not in BETTER:
        raise Mistake(f"{file}: better is {module.better!r}, none of {', '.join(map(repr, BETTER))}")
    bounds = getattr(module, "bounds", (0, 1))
    if "better" in kind.names and not _is_range(bounds):
        raise Mistake(f"{file}: bounds is {bounds!r}, no pair of the least and the largest number")
    first = getattr(module, kind.names[0])
    if kind.several and not isinstance(first, dict):
        raise Mistake(f"{file}: {kind.names[0]} is a {type(first).__name__}, not a dictionary by name")
    for value in first.values() if kind.several else [first]:
        if kind.value and not isinstance(value, _object(kind.value)):
            raise Mistake(f"{file}: {kind.names[0]}: {type(value).__name__} is no {kind.value.partition(':')[2]}")
    entries: dict[str, object] = first if kind.several else {file.stem: module}
    if others := [name for name in entries if not (isinstance(name, str) and name.strip() and name.isprintable())]:
        raise Mistake(f"{file}: {others[0]!r} is no name of a {kind.title}")
    known = _object(kind.table) if kind.several else names(kind.package)
    if twice := [name for name in entries if name in known]:
        raise Mistake(f"{file}: there is a {kind.title} {twice[0]} already")
    return entries


def _require_names(file: Path, name: str, found: Sequence[object]) -> None:
    """Raises `Mistake` unless all that is in a tuple of a file can be named there."""
    choices = list(_object(NAMED[name]))
    for wrong in (given for given in found if given not in choices):
        hint = did_you_mean(wrong, choices) if isinstance(wrong, str) else ""
        raise Mistake(f"{file}: {name} has {wrong!r}, none of {', '.join(map(repr, choices))}.{hint}")


def _is_range(found: object) -> bool:
    """Whether it is a pair of numbers, the smaller one first."""
    if not isinstance(found, tuple) or [isinstance(end, int | float) for end in found] != [True, True]:
        return False
    low, high = found
    return bool(low < high)


def _object(place: str) -> Any:
    """The object MODULE:NAME."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)
