"""Makes a command independent of what surrounds its process: streams, encodings, variables, the working folder."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
import unicodedata

from harness.system.errors import Mistake

MOST_THREADS = 4096
ASCII = str.maketrans(
    {
        "±": "+-",
        "↑": "(higher)",
        "↓": "(lower)",
        "–": "-",
        "—": "-",
        "∞": "inf",
        "×": "x",
        "·": "*",
        "█": "#",
        "…": "...",
    }
)


def prepare() -> None:
    """Makes the process ready. Raises `Mistake` for a wrong OMP_NUM_THREADS and for a working folder that is gone."""
    _open_streams()
    codecs.register_error("harness.ascii", _ascii)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(OSError):  # another file has taken the place of the one that it was opened for
                stream.reconfigure(errors="harness.ascii")
    os.environ["MPLBACKEND"] = "agg"  # figures need no window, and a wrong name stops matplotlib
    threads()
    try:
        os.getcwd()
    except OSError:
        raise Mistake("the working folder is gone: change to a folder that exists") from None


def threads() -> int | None:
    """The number in OMP_NUM_THREADS, for the first level of nested threads; None if it is not set."""
    text = os.environ.get("OMP_NUM_THREADS", "").strip()
    if not text:
        return None
    first = text.partition(",")[0].strip()
    if not first.isascii() or not first.isdigit() or not 1 <= int(first[:9]) <= MOST_THREADS or len(first) > 9:
        raise Mistake(f"OMP_NUM_THREADS={text!r}: a number of threads from 1 to {MOST_THREADS} is needed, or none")
    return int(first)


def _open_streams() -> None:
    """Opens what is closed of standard input, output and error, so that no other file gets their numbers."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: SIM115


def _ascii(error: UnicodeError) -> tuple[str, int]:
    """A replacement for characters that an output cannot show: without accents, by name, or as an escape."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(ASCII)
    plain = unicodedata.normalize("NFKD", text)
    shown = (c if c.isascii() else "" if unicodedata.combining(c) else f"\\u{ord(c):04x}" for c in plain)
    return "".join(shown), error.end
