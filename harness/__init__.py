"""The benchmark: experiments, studies, planning, the store of runs, stages, data, metrics, executors and commands.

From Python: `harness.run` runs a study, `harness.results` is the table of its numbers, `harness.load_tokenizer` loads a
trained tokenizer. They are in `harness.api`, which is imported when one of them is used.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.api import load_tokenizer as load_tokenizer
    from harness.api import results as results
    from harness.api import run as run

__version__ = "0.1.0"
API = ("load_tokenizer", "results", "run")


def __getattr__(name: str) -> Any:
    """Imports the Python interface on first use."""
    if name not in API:
        raise AttributeError(f"module 'harness' has no attribute {name!r}")
    return getattr(import_module("harness.api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *API})


def _interrupt_quietly() -> None:
    """An interruption while a command is still being imported is one line, as it is later."""

    def tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            print("interrupted", file=sys.stderr)
        else:
            sys.__excepthook__(kind, error, trace)

    by_module = "-m" in sys.orig_argv and sys.orig_argv[sys.orig_argv.index("-m") + 1].split(".")[0] == "harness"
    if by_module or [Path(program).name for program in sys.argv[:1]] == ["tokenizer-harness"]:
        sys.excepthook = tell


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


_interrupt_quietly()
_require_our_packages()
