"""The record of the machine and the code that a stage runs with."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness import __version__
from harness.system.machine import Machine

PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "torch-fidelity",
    "lpips",
    "numpy",
    "scikit-learn",
    "scikit-image",
    "pillow",
)

CHECKOUT = Path(__file__).resolve().parents[2]

VERSION = "version.json"  # in a copy of the code


def environment(machine: Machine) -> dict[str, Any]:
    """The record of every attempt: machine, versions, commit and the changes on top of it."""
    return {
        "device": machine.device,
        "dtype": machine.dtype,
        "threads": machine.threads,
        "host": platform.node(),
        "processor": _processor(machine),
        "python": platform.python_version(),
        "versions": {package: version(package) for package in PACKAGES},
        **code_version(),
    }


def is_changed(code: Mapping[str, Any]) -> bool:
    """Whether the code of a `code_version` differs from its commit; files that lie beside it are no change of it."""
    return str(code["uncommitted"]).startswith("diff ")


def code_version() -> dict[str, Any]:
    """{"commit", "uncommitted"}: the commit of this checkout, and the diff and new files on top of it ("" if none).

    A copy of the code stores both for the checkout that it was copied from. An installed package has no commit, but a
    version; a repository around it is not its own.
    """
    if (CHECKOUT / VERSION).exists():
        stored: dict[str, Any] = json.loads((CHECKOUT / VERSION).read_text(encoding="utf-8"))
        return stored
    if not (CHECKOUT / ".git").exists():
        return {"commit": __version__, "uncommitted": ""}

    def git(*words: str) -> str:
        command = ["git", "-C", str(CHECKOUT), *words]
        try:
            return subprocess.run(
                command, capture_output=True, encoding="utf-8", errors="replace", check=True
            ).stdout.strip()
        except (OSError, subprocess.CalledProcessError):  # no git here, or not a checkout
            return ""

    changes = [git("diff", "HEAD"), git("ls-files", "--others", "--exclude-standard")]
    return {"commit": git("rev-parse", "HEAD") or "unknown", "uncommitted": "\n".join(filter(None, changes))}


def _processor(machine: Machine) -> str:
    if machine.device == "cuda":
        import torch

        return torch.cuda.get_device_name()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
