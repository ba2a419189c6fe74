"""How a command ends: its exit code, and its last question.

Exit codes: 0 done; 1 something failed while it ran; 2 a mistake in the request; 130 interrupted; 141 the reader of
the output left, as `head` does.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence

from harness.store.runs import Damaged
from harness.system import surroundings
from harness.system.errors import Mistake, Trouble
from harness.system.texts import as_typed, printable

INTERRUPTED, LEFT = 130, 141  # 128 and the number of the signal
GOES_ON = "the same command goes on from here"


def agreed(question: str) -> bool:
    """Whether the user at the terminal says yes. Without a terminal the answer is no."""
    if not sys.stdin.isatty():
        print("there is no terminal to ask the question; --yes answers it")
        return False
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        return False


def say_next(command: str) -> None:
    """Prints the command to type next."""
    print(f"next: {as_typed(command)}")


@contextlib.contextmanager
def going_on() -> Iterator[None]:
    """What an interruption leaves is kept, and the same command goes on: the message says so."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(GOES_ON) from None


def run(main: Callable[[Sequence[str]], int]) -> None:
    """Calls `main` with the command line and exits with one of the codes above. A bug keeps its traceback."""

    def whole(arguments: Sequence[str]) -> int:
        surroundings.prepare()
        try:
            return main(arguments)
        finally:
            sys.stdout.flush()

    try:
        code = code_of(whole, sys.argv[1:])
    except BrokenPipeError:  # the reader of the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = LEFT
    except KeyboardInterrupt as interruption:
        print(": ".join(["interrupted", *map(str, interruption.args)]), file=sys.stderr)
        code = INTERRUPTED
    sys.exit(code)


def code_of(main: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> int:
    """The exit code of a command; mistakes and troubles are printed in one line."""
    try:
        return main(arguments)
    except BrokenPipeError:
        raise
    except Mistake as error:
        print(f"error: {printable(as_typed(str(error)))}", file=sys.stderr)
        return 2
    except (Trouble, OSError) as error:
        if isinstance(error, Damaged) and error.run.folder.exists():
            with contextlib.suppress(OSError):  # the store of another user
                error.run.reset("damaged", str(error))
        print(f"error: {printable(as_typed(str(error)))}", file=sys.stderr)
        return 1
