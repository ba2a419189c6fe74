"""The code that jobs run: a copy of what was there when they were submitted, `code/DIGEST/` in the store.

A job waits for hours and imports its code when it starts; without the copy it would run whatever was edited meanwhile.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

from harness.system.environment import CHECKOUT, VERSION, code_version

PACKAGES = ("ablations", "harness", "models", "reports")
SUFFIXES = (".py", ".csv", ".j2", ".toml")


def take(root: Path) -> Path:
    """The copy of this checkout's code below the store's `root`; made where it is not there yet.

    Beside the packages it holds version.json: the commit, and the difference to it.
    """
    files = {
        path.relative_to(CHECKOUT): path.read_bytes()
        for package in PACKAGES
        for path in sorted((CHECKOUT / package).rglob("*"))
        if path.suffix in SUFFIXES
    }
    version = json.dumps(code_version(), indent=1)
    digest = hashlib.sha256(version.encode())
    for name, content in files.items():
        digest.update(f"\0{name}\0{len(content)}\0".encode() + content)
    place = (root / "code" / digest.hexdigest()[:16]).absolute()
    if not place.exists():
        temporary = place.with_name(f".{place.name}.{os.getpid()}")
        try:
            for name, content in files.items():
                (temporary / name).parent.mkdir(parents=True, exist_ok=True)
                (temporary / name).write_bytes(content)
            (temporary / VERSION).write_text(version)
            temporary.rename(place)
        except OSError:
            if not place.exists():  # else another command was quicker, with the same files
                raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return place


def environment(code: Path) -> dict[str, str]:
    """What makes a Python process import the copy, whatever folder it starts in."""
    paths = [str(code), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"}


def described(code: Path) -> str:
    """The copy and what it was taken of, on one line."""
    version = json.loads((code / VERSION).read_text())
    changes = " with uncommitted changes" if version["uncommitted"] else ""
    return f"code {code.name}: commit {version['commit'][:12]}{changes}"
