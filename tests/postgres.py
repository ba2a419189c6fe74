"""A real PostgreSQL of the tests' own, in a private directory, reached by a socket of its own port."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

USER = "postgres"  # it refuses to run as root


def programs() -> Path | None:
    """Where `initdb` and `pg_ctl` are; Debian keeps them off the PATH."""
    found = shutil.which("initdb")
    places = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return places[-1] if places else None


def available() -> str:
    """Why there is none, "" where there is."""
    if programs() is None:
        return "no PostgreSQL here: the Debian package is postgresql"
    if os.geteuid() == 0 and shutil.which("runuser") is None:
        return "PostgreSQL refuses to run as root, and there is no runuser"
    return ""


class Postgres:
    """Runs inside `with`; `url` is how SQLAlchemy reaches it."""

    def __init__(self, place: Path):
        found = programs()
        assert found is not None
        self.programs, self.place = found, place
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"postgresql+psycopg://{USER}:secret@127.0.0.1:{self.port}/postgres"

    def __enter__(self) -> Postgres:
        self.place.chmod(0o777)
        data = str(self.place / "data")
        self._run("initdb", "-D", data, "-U", USER, "--auth=trust", "--no-sync", "--no-locale", "--encoding=UTF8")
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.place} -c fsync=off"
        self._run("pg_ctl", "-D", data, "-w", "-l", str(self.place / "log"), "-o", options, "start")
        return self

    def __exit__(self, *error: object) -> None:
        self._run("pg_ctl", "-D", str(self.place / "data"), "-m", "immediate", "stop")

    def _run(self, program: str, *words: str) -> None:
        command = [str(self.programs / program), *words]
        if os.geteuid() == 0:
            command = ["runuser", "-u", USER, "--", *command]
        # Not captured: the server would keep the pipe open.
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True, cwd="/", timeout=60)
