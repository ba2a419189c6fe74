"""The parser of a command: plug-ins first, a mistake in one line, names for `--list` and for the shell."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from harness.cli.names import FIELDS, fields, listing
from harness.experiments.scales import scale
from harness.system import paths, plugins
from harness.system.errors import Mistake, did_you_mean
from harness.system.texts import SCRIPT, by_script

COMPLETION = "_ARGCOMPLETE"  # set by the shell when it wants words, with the number of those that are the program


class Parser(argparse.ArgumentParser):
    """A parser that reports a mistake in one line, with the nearest option, and completes words for the shell."""

    def parse_args(self, *given: Any) -> Any:  # type: ignore[override]
        """As in argparse, unless the shell wants words to complete."""
        if COMPLETION in os.environ:
            import argcomplete

            argcomplete.autocomplete(self, always_complete_options="long")
        return super().parse_args(*given)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As in argparse, which takes `--option=--` for an empty list. `--list` prints names and ends the command."""
        for word in sys.argv[1:] if args is None else args:
            option, equals, value = word.partition("=")
            if equals and value == "--" and option.startswith("-"):
                self.error(f"argument {option}: -- is no value")
        _find_plugins(sys.argv[1:] if args is None else args)
        options, others = super().parse_known_args(args, namespace)
        if (file := getattr(options, "study_file", None)) is not None:
            if options.study:
                self.error(f"--study {file} and {options.study} are two studies")
            options.study = file.stem if options.study is None else [file.stem]
        if getattr(options, "list", None) is not None:
            print(fields(scale(options.scale)) if options.list == FIELDS else listing(options.list))
            sys.exit(0)
        return options, others

    def given(self, options: argparse.Namespace, names: Sequence[str]) -> list[str]:
        """Those of the options with these names, such as --max-seeds, that have another value than their default."""
        fields = {name: name.removeprefix("--").replace("-", "_") for name in names}
        return [name for name, field in fields.items() if getattr(options, field) != self.get_default(field)]

    def error(self, message: str) -> NoReturn:
        options = [name for action in self._actions for name in action.option_strings]
        given = next((word for word in message.split() if word.startswith("--")), "").rstrip(":,")
        hint = "" if given in options else did_you_mean(given, options)
        raise Mistake(f"{message}.{hint} --help lists all options")


def parser(command: str, about: str = "") -> Parser:
    """A parser for `python -m harness.COMMAND`; without `about`, its first line of documentation says what it does."""
    about = about or plugins.summary("harness", command).partition(": ")[2]
    prog = f"{SCRIPT} {command}".rstrip() if by_script() else f"python -m harness.{command}".rstrip(".")
    made = Parser(prog=prog, description=about, allow_abbrev=False)
    made.add_argument(
        "--plugins",
        action="append",
        type=paths.path,
        metavar="PATH",
        help="a folder of Python files, or one file: studies, variants, tokenizers, metrics, data sets, teachers and "
        f"generators of your own; may be given several times (also: {plugins.VARIABLE})",
    )
    return made


@contextlib.contextmanager
def named_as_typed(options: Mapping[str, str]) -> Iterator[None]:
    """Within, a `Mistake` in the value of a field names the option that gives it; `options` are those by field."""
    try:
        yield
    except Mistake as mistake:
        name, _, why = str(mistake).partition(" = ")
        field = next((field for field in options if re.fullmatch(rf"{re.escape(field)}(\.\d+)?", name)), None)
        raise Mistake(f"{options[field]} {why}" if field else str(mistake)) from None


def complete(option: argparse.Action, names: Callable[[], Sequence[str]]) -> None:
    """The shell completes the value of an option with these names."""
    option.completer = lambda **_: names()  # type: ignore[attr-defined]


def _find_plugins(words: Sequence[str]) -> None:
    """Finds the plug-ins that a command line names, before anything else of it is read. Raises `Mistake`."""
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    early.add_argument("--plugins", action="append", default=[], type=paths.path)
    early.add_argument("--study", type=lambda text: paths.path(text).absolute())
    try:
        named, _ = early.parse_known_args(words)
    except argparse.ArgumentError:  # the command's own parser says it
        return
    if named.study is not None and named.study.is_dir():
        raise Mistake(f"{paths.from_here(str(named.study))} is not a Python file, but a folder")
    for place in [*named.plugins, *([named.study] if named.study else [])]:
        plugins.add(place)
    plugins.find(study=named.study)
