"""Optuna's side of a sweep: where a study is stored, who suggests the next trial, who gives one up early.

Optuna stores neither samplers nor pruners: both are made anew, and a sampler for every trial, seeded by the study and
the number of the trial. So a sweep that runs one trial at a time suggests the same, interrupted or not.
"""

from __future__ import annotations

import contextlib
import os
import platform
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.experiments.requests import SweepRequest
from harness.store.runs import Store
from harness.system.errors import Mistake, Trouble

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage


FOLDER = "sweeps"

GRACE_SECONDS = 3  # after which a lock on the journal is that of a killed process; no shorter one is allowed
CONNECT_SECONDS = 10
JOURNAL = b'{"op_code"'  # how it begins


def default_storage(root: Path, page: str) -> str:
    """The journal of a sweep in its store."""
    return str(root / FOLDER / f"{page}.journal")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without Optuna's own messages, and its warnings that a sampler is new."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


def storage_at(place: str) -> BaseStorage:
    """The storage at a file or a URL; raises `Mistake` where it cannot be reached."""
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

    if "://" in place:
        try:
            with quiet():
                return RDBStorage(place, engine_kwargs=_engine(place))
        except Exception as error:  # of SQLAlchemy, of one of many drivers, or of its import
            raise Mistake(f"the storage {shown_place(place)} cannot be reached: {_first_line(error)}") from None
    path = Path(place).absolute()
    if path.exists() and not _is_journal(path):
        raise Mistake(f"{place} is no journal of Optuna")
    try:
        return JournalStorage(JournalFileBackend(str(path), JournalFileSymlinkLock(str(path), GRACE_SECONDS)))
    except OSError as error:
        raise Mistake(f"the storage {place} cannot be opened: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise Trouble(f"{place} is a damaged journal: {_first_line(error)}") from None


def _engine(place: str) -> dict[str, Any]:
    """What SQLAlchemy is told: connections that died between two trials are replaced, and a silent host is given up."""
    from sqlalchemy.engine import make_url

    timed = make_url(place).get_driver_name() in ("psycopg", "psycopg2", "pymysql", "mysqldb")
    return {"pool_pre_ping": True} | ({"connect_args": {"connect_timeout": CONNECT_SECONDS}} if timed else {})


def _is_journal(path: Path) -> bool:
    """Whether a file begins as journals do, as far as it goes."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return JOURNAL.startswith(file.read(len(JOURNAL)))


def _there(place: str) -> bool:
    """Whether there may be a study at a storage: a database of SQLite, and a journal, are files."""
    if place.startswith("sqlite:///"):
        return Path(place.removeprefix("sqlite:///").partition("?")[0]).is_file()
    return "://" in place or Path(place).exists()


def require_place(place: str) -> None:
    """Raises `Mistake` where nothing can be stored at `place`, as far as can be told without doing it."""
    if "://" in place:
        return
    if ":/" in place and "@" in place:
        raise Mistake("--storage: that is neither a file nor a URL, which has ://")
    path = Path(place).absolute()
    folder = next((parent for parent in path.parents if parent.exists()), path)
    if not folder.is_dir() or not os.access(path if path.exists() else folder, os.W_OK):
        raise Mistake(f"--storage {place}: cannot be written")


def lock_of(place: str, root: Path, page: str) -> Path:
    """What the one driver of a study holds: it lies beside a journal, and in the store where that is a database."""
    path = Path(place).absolute()
    return root / FOLDER / f".{page}.lock" if "://" in place else path.with_name(f".{path.name}.driver")


def shown_place(place: str) -> str:
    """A storage without its password."""
    if "://" not in place:
        return place
    from sqlalchemy.engine import make_url

    try:
        url = make_url(place)
        secret = [key for key in url.query if "pass" in key.lower()]
        return url.difference_update_query(secret).render_as_string(hide_password=True)
    except Exception:  # no URL that anything could be told of
        return place.rpartition("@")[2].partition("?")[0]


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


@contextlib.contextmanager
def trouble_of(place: str) -> Iterator[None]:
    """Turns an error of the storage into `Trouble`, which says what it was."""
    from optuna.exceptions import StorageInternalError

    try:
        yield
    except StorageInternalError as error:
        cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
        told = f"the storage {shown_place(place)} failed: {_first_line(cause)}; the same command goes on"
        raise Trouble(told) from None


def known_study(request: SweepRequest, place: str, store: Store) -> Study | None:
    """The Optuna study of what was asked, if there is one; raises `Mistake` where it is about something else."""
    import optuna

    if not _there(place):
        return None
    try:
        with quiet():
            study = optuna.load_study(storage=storage_at(place), study_name=request.page)
    except KeyError:
        return None
    mine = described(request, place, store)
    theirs: dict[str, str] = study.user_attrs.get("about", {})
    if not theirs and study.get_trials(deepcopy=False):
        raise Mistake(f"the study {request.page!r} in that storage was made by something else")
    for name in dict.fromkeys([*theirs, *mine]) if theirs else ():
        there, here = (about.get(name, "nothing") for about in (theirs, mine))
        if there != here:
            raise Mistake(
                f"the study {request.page!r} in that storage holds another {name}: {there} there, {here} here; "
                "--storage names another place"
            )
    return study


def open_study(request: SweepRequest, place: str, store: Store) -> Study:
    """The same, made if there is none; for its one driver.

    The end of a line of a journal that a killed driver did not finish is cut off.
    """
    import optuna

    path = Path(place)
    if "://" not in place:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not (content := path.read_bytes()).endswith(b"\n"):
            os.truncate(path, content.rfind(b"\n") + 1)
    study = known_study(request, place, store)
    if study is None:
        directions = [o.direction for o in request.objectives]
        study = optuna.create_study(storage=storage_at(place), study_name=request.page, directions=directions)
    study.set_user_attr("about", described(request, place, store))
    return study


def described(request: SweepRequest, place: str, store: Store) -> dict[str, str]:
    """What the values of a study depend on, in words."""
    from harness.planning.task import task

    base = request.experiment(request.chosen_rows()[0])
    # Trials mean nothing without their store; the default place is in it, whatever it is called.
    elsewhere = place != default_storage(store.root, request.page)
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
