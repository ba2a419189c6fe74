"""The code that jobs run: `code/DIGEST/` in the store, a copy of the code at the time when they were submitted.

A job waits for hours and imports its code when it starts. Without the copy it would run code that was edited meanwhile.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

from harness.system import plugins
from harness.system.environment import CHECKOUT, VERSION, code_version, is_changed

PACKAGES = ("ablations", "harness", "models", "reports")
SUFFIXES = (".py", ".csv", ".j2", ".toml")


def take(root: Path) -> Path:
    """The copy of this checkout's code below the store's `root`. It is made if it does not exist yet.

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
    folder = (root / "code" / digest.hexdigest()[:16]).absolute()
    if not folder.exists():
        temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
        try:
            for name, content in files.items():
                (temporary / name).parent.mkdir(parents=True, exist_ok=True)
                (temporary / name).write_bytes(content)
            (temporary / VERSION).write_text(version, encoding="utf-8")
            temporary.rename(folder)
        except OSError:
            if not folder.exists():  # else another command was quicker, with the same files
                raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return folder


def environment(code: Path) -> dict[str, str]:
    """The variables that make a Python process import the copy, whatever folder it starts in, and a user's plug-ins."""
    paths = [str(code), *filter(None, [os.environ.get("PYTHONPATH")])]
    added = {plugins.VARIABLE: os.pathsep.join(found)} if (found := plugins.places()) else {}
    return {"PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1", **added}


def described(code: Path) -> str:
    """The copy and its commit, on one line."""
    version = json.loads((code / VERSION).read_text(encoding="utf-8"))
    changes = " with uncommitted changes" if is_changed(version) else ""
    return f"code {code.name}: commit {version['commit'][:12]}{changes}"
