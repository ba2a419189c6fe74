"""The benchmark: experiments, studies, planning, the store of runs, stages, data, metrics, executors and commands."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

__version__ = "0.1.0"


def _require_our_packages() -> None:
    """Ends `python -m`, or raises ImportError, if a user's file hides one of our packages: it would be run as ours."""
    root = Path(__file__).parent.parent
    for name in ("ablations", "models", "reports"):
        found = find_spec(name)
        if found is not None and found.origin is not None and Path(found.origin).parent.parent != root:
            line = (
                f"{found.origin} hides our package {name}: rename it, or run the command tokenizer-harness, which does "
                "not look in the working folder"
            )
            if sys.argv[:1] == ["-m"]:  # Python still looks for the command
                print(f"error: {line}", file=sys.stderr)
                sys.exit(2)
            raise ImportError(line)


_require_our_packages()
