"""The GPUs of this machine, without torch."""

from __future__ import annotations

import os
import shutil
import subprocess

from harness.system.errors import Mistake


def visible() -> list[int]:
    """The numbers of the GPUs that this process may use. Raises `Mistake` if one has no number."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        names = [name for name in named.split(",") if name]
        if not all(name.isdecimal() for name in names):
            raise Mistake(f"CUDA_VISIBLE_DEVICES={named}: jobs on this machine take GPUs by number")
        return [int(name) for name in names]
    if not shutil.which("nvidia-smi"):
        return []
    listed = subprocess.run(
        ["nvidia-smi", "-L"], capture_output=True, encoding="utf-8", errors="replace", check=False
    ).stdout
    return list(range(listed.count("UUID")))


def in_turn(processes: int, slot: int) -> tuple[int, ...]:
    """The GPUs of the `processes` of a slot, assigned in turn; none if this machine has none. Raises `Mistake`."""
    here = visible()
    return tuple(here[(slot * processes + k) % len(here)] for k in range(processes)) if here else ()
