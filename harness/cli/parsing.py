"""The parser of a command: a mistake is one line with the nearest option, `--list` lists all names."""

from __future__ import annotations

import argparse
import difflib
import sys
from typing import Any, NoReturn

from harness.cli.names import FIELDS, fields, listing
from harness.experiments.scales import scale
from harness.system import plugins
from harness.system.errors import Mistake


class Parser(argparse.ArgumentParser):
    """A parser that reports a mistake in one line, with the nearest option."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As in argparse, which takes `--option=--` for an empty list. `--list` prints names and ends the command."""
        for word in sys.argv[1:] if args is None else args:
            option, equals, value = word.partition("=")
            if equals and value == "--" and option.startswith("-"):
                self.error(f"argument {option}: -- is no value")
        options, others = super().parse_known_args(args, namespace)
        if getattr(options, "list", None) is not None:
            print(fields(scale(options.scale)) if options.list == FIELDS else listing(options.list))
            sys.exit(0)
        return options, others

    def error(self, message: str) -> NoReturn:
        options = [name for action in self._actions for name in action.option_strings]
        given = next((word for word in message.split() if word.startswith("--")), "")
        given = given.rstrip(":")
        near = [] if given in options else difflib.get_close_matches(given, options, n=1, cutoff=0.6)
        raise Mistake(f"{message}.{f' Did you mean {near[0]!r}?' if near else ''} --help lists all options")


def parser(command: str, about: str = "") -> Parser:
    """A parser for `python -m harness.COMMAND`; without `about`, its first line of documentation says what it does."""
    about = about or plugins.summary("harness", command).partition(": ")[2]
    name = f"harness.{command}" if command else "harness"
    return Parser(prog=f"python -m {name}", description=about, allow_abbrev=False)
