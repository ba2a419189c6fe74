"""Lines about the trials of a sweep, on standard error."""

from __future__ import annotations

import sys

from tqdm import tqdm


class TrialLines:
    """Lines about trials on standard error: one for each that runs, kept up to date, and one that stays when it ends.

    Not `live` where stages show a bar of their own.
    """

    MOST = 8

    def __init__(self, quiet: bool, live: bool):
        self.quiet, self.live, self._bars = quiet, live and not quiet, list[tqdm]()

    def __enter__(self) -> TrialLines:
        return self

    def __exit__(self, *error: object) -> None:
        for bar in self._bars:
            bar.close()

    def show(self, trials: dict[int, str]) -> None:
        """What the first trials are at, by number."""
        shown = [f"trial {number}, {text}" for number, text in trials.items()][: self.MOST]
        while len(self._bars) < len(shown):
            self._bars.append(tqdm(bar_format="{desc}", position=len(self._bars) + 1, leave=False))
        for k, bar in enumerate(self._bars):
            bar.set_description_str(shown[k] if k < len(shown) else "")

    def say(self, text: str) -> None:
        """A line that stays."""
        if not self.quiet:
            tqdm.write(text, file=sys.stderr)
