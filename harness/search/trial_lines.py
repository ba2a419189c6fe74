"""Lines about the trials of a sweep, on standard error."""

from __future__ import annotations

import sys

from tqdm import tqdm


class TrialLines:
    """Lines about trials on standard error: a live line for each running trial, and a line that stays when it ends.

    Without `live` there are only lines that stay: the stages show their own bars.
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
        """Updates the lines of the first running trials, by number."""
        shown = [f"trial {number}, {text}" for number, text in trials.items()][: self.MOST]
        while len(self._bars) < len(shown):
            self._bars.append(tqdm(bar_format="{desc}", position=len(self._bars) + 1, leave=False))
        for k, bar in enumerate(self._bars):
            bar.set_description_str(shown[k] if k < len(shown) else "")

    def say(self, text: str) -> None:
        """Prints a line that stays."""
        if not self.quiet:
            tqdm.write(text, file=sys.stderr)
