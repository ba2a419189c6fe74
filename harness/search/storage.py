"""The Optuna study of a sweep and its storage, a journal file or a database.

Optuna stores neither samplers nor pruners: both are made anew, and a sampler for every trial, seeded by the study and
the number of the trial. So a sweep that runs one trial at a time suggests the same points, interrupted or not.
"""

from __future__ import annotations

import bisect
import contextlib
import json
import os
import platform
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.experiments.requests import SweepRequest
from harness.store.runs import Store
from harness.system import paths
from harness.system.errors import Mistake, Trouble

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage


FOLDER = "sweeps"

GRACE_SECONDS = 3  # an older lock on the journal is that of a killed process; Optuna allows no shorter time
CONNECT_SECONDS = 10
JOURNAL, DATABASE = b'{"op_code"', b"SQLite format 3\0"  # the first bytes of a journal, and of a database of SQLite


def default_storage(root: Path, page: str) -> str:
    """The path of a sweep's journal in its store."""
    return str(root / FOLDER / f"{page}.journal")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silences Optuna's messages and its warnings about experimental samplers."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


def storage_at(location: str) -> BaseStorage:
    """The storage at a file or a URL. Raises `Mistake` if it cannot be reached."""
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

    if "://" in location:
        with _reached(location), quiet():
            return RDBStorage(location, engine_kwargs=_engine(location))
    path = Path(location).absolute()
    if path.exists() and not _begins(path, JOURNAL):
        raise Mistake(f"{location} is not a journal of Optuna")
    try:
        return JournalStorage(JournalFileBackend(str(path), JournalFileSymlinkLock(str(path), GRACE_SECONDS)))
    except OSError as error:
        raise Mistake(f"the storage {location} cannot be opened: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, AssertionError) as error:
        remedy = "remove that line, or move the file away and a new study finds the finished runs in the store"
        problem = f"line {_damaged_line(path)} is damaged ({_first_line(error)})"
        raise Trouble(f"{location} is a damaged journal: {problem}; {remedy}") from None


@contextlib.contextmanager
def _reached(location: str) -> Iterator[None]:
    """Turns whatever a database answers to a connection into `Mistake`."""
    try:
        yield
    except Exception as error:  # of SQLAlchemy, of one of many drivers, or of its import
        raise Mistake(f"the storage {without_password(location)} cannot be reached: {_first_line(error)}") from None


def _engine(location: str) -> dict[str, Any]:
    """Options of SQLAlchemy: replace connections that died between two trials, and give up a silent host."""
    from sqlalchemy.engine import make_url

    timed = make_url(location).get_driver_name() in ("psycopg", "psycopg2", "pymysql", "mysqldb")
    return {"pool_pre_ping": True} | ({"connect_args": {"connect_timeout": CONNECT_SECONDS}} if timed else {})


def _begins(path: Path, first: bytes) -> bool:
    """Whether a file begins with these bytes, as far as it goes."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return first.startswith(file.read(len(first)))


def _damaged_line(path: Path) -> int:
    """The number of the first line of a damaged journal that Optuna does not accept, from 1, by bisection."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    lines = path.read_bytes().splitlines(keepends=True)
    for number, line in enumerate(lines, 1):  # Optuna takes a last line that is no JSON for one that is being written
        try:
            json.loads(line)
        except ValueError:
            return number

    def is_damaged(count: int) -> bool:
        """Whether the first lines are damaged."""
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "part").write_bytes(b"".join(lines[:count]))
            try:
                JournalStorage(JournalFileBackend(str(Path(folder) / "part")))
            except Exception:
                return True
        return False

    return bisect.bisect_left(range(len(lines)), True, key=lambda count: is_damaged(count + 1)) + 1


def _may_exist(location: str) -> bool:
    """Whether a study may exist at a storage. SQLite databases and journals are files."""
    file = _file_of(location)
    return file is None or file.exists()


def require_writable(location: str) -> None:
    """Raises `Mistake` if nothing can be stored at `location`, as far as can be checked without writing."""
    if ":/" in location and "://" not in location and "@" in location:
        raise Mistake("--storage: neither a file nor a URL; a URL has ://")
    if (path := _file_of(location)) is None:
        _require_answer(location)
    else:
        _require_file(path, location)


def _require_file(path: Path, location: str) -> None:
    """Raises `Mistake` unless `path`, the file of a storage, is such a file, or one can be made there."""
    named, is_journal = f"the storage {without_password(location)}", "://" not in location
    if path.is_dir():
        raise Mistake(f"{named} is a folder: a file is needed, or a URL")
    if not is_journal and not path.parent.is_dir():  # SQLite makes no folder
        raise Mistake(f"{named} cannot be written: {path.parent} is not a folder")
    try:
        paths.require_writable(path.parent)
    except Mistake as mistake:
        raise Mistake(f"{named}: {mistake}") from None
    if path.exists() and not os.access(path, os.W_OK):
        raise Mistake(f"{named} cannot be written")
    if path.exists() and not _begins(path, JOURNAL if is_journal else DATABASE):
        raise Mistake(f"{named} is not a {'journal of Optuna' if is_journal else 'database of SQLite'}")


def _file_of(location: str) -> Path | None:
    """The file of a journal or of an SQLite database; None for another database.

    Raises `Mistake` for a URL that none has, and for a database in memory, which no other command could read.
    """
    if "://" not in location:
        return Path(location).absolute()
    from sqlalchemy.engine import make_url

    with _reached(location):
        url = make_url(location)
    if url.get_backend_name() != "sqlite":
        return None
    name = (url.database or "").removeprefix("file:").partition("?")[0]
    if name in ("", ":memory:") or url.query.get("mode") == "memory":
        raise Mistake(f"the storage {location} is in memory, and ends with this command: name a file")
    return Path(name).absolute()


def _require_answer(location: str) -> None:
    """Raises `Mistake` if a database does not answer."""
    from sqlalchemy import create_engine

    with _reached(location):
        engine = create_engine(location, **_engine(location))
        try:
            engine.connect().close()
        finally:
            engine.dispose()


def lock_of(location: str, root: Path, page: str) -> Path:
    """The lock file of the only driver of a study: beside a journal, or in the store if the storage is a database."""
    path = Path(location).absolute()
    return root / FOLDER / f".{page}.lock" if "://" in location else path.with_name(f".{path.name}.driver")


def without_password(location: str) -> str:
    """The location of a storage without its password."""
    if "://" not in location:
        return location
    from sqlalchemy.engine import make_url

    try:
        url = make_url(location)
        secret = [key for key in url.query if "pass" in key.lower()]
        return url.difference_update_query(secret).render_as_string(hide_password=True)
    except Exception:  # a URL that cannot be parsed
        return location.rpartition("@")[2].partition("?")[0]


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


@contextlib.contextmanager
def trouble_of(location: str) -> Iterator[None]:
    """Turns an error of the storage into `Trouble` with its message."""
    from optuna.exceptions import StorageInternalError

    try:
        yield
    except StorageInternalError as error:
        cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
        message = f"the storage {without_password(location)} failed: {_first_line(cause)}; the same command goes on"
        raise Trouble(message) from None


def known_study(request: SweepRequest, location: str, store: Store) -> Study | None:
    """The Optuna study of a request, if it exists. Raises `Mistake` if it belongs to something else."""
    if not _may_exist(location):
        return None
    import optuna

    try:
        with quiet():
            study = optuna.load_study(storage=storage_at(location), study_name=request.page)
    except KeyError:
        return None
    current = described(request, location, store)
    stored: dict[str, str] = study.user_attrs.get("about", {})
    if not stored and study.get_trials(deepcopy=False):
        raise Mistake(f"the study {request.page!r} in that storage was made by something else")
    for name in dict.fromkeys([*stored, *current]) if stored else ():
        before, now = (about.get(name, "nothing") for about in (stored, current))
        if before != now:
            raise Mistake(
                f"the study {request.page!r} in that storage holds another {name}: {before} there, {now} here; "
                "--storage names another location"
            )
    return study


def open_study(request: SweepRequest, location: str, store: Store) -> Study:
    """The Optuna study of a request, made if it does not exist; for its only driver.

    A killed driver may leave an unfinished line at the end of a journal: it is cut off.
    """
    import optuna

    path = Path(location)
    if "://" not in location:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not (content := path.read_bytes()).endswith(b"\n"):
            os.truncate(path, content.rfind(b"\n") + 1)
    study = known_study(request, location, store)
    if study is None:
        directions = [o.direction for o in request.objectives]
        study = optuna.create_study(storage=storage_at(location), study_name=request.page, directions=directions)
    study.set_user_attr("about", described(request, location, store))
    return study


def described(request: SweepRequest, location: str, store: Store) -> dict[str, str]:
    """The settings that the values of a study depend on, in words."""
    from harness.planning.task import task

    base = request.experiment(request.chosen_rows()[0])
    # Trials mean nothing without their store. The default location lies in the store, so the store need not be named.
    elsewhere = location != default_storage(store.root, request.page)
    return {
        **({"store": f"{platform.node()}:{store.root.absolute()}"} if elsewhere else {}),
        **{f"space of {a.name}": str(a) for a in request.axes},
        "choice of rows": ", ".join(row.name for row in request.chosen_rows()),
        "objective": ", ".join(o.metric for o in request.objectives),
        "number of seeds": str(request.seeds),
        "configuration or revision of a stage (key of the base)": ", ".join(
            task(stage, base).key for stage in request.stages(base)
        ),
    }
