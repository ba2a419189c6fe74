"""An axis of a sweep: one field of the experiment and the values that it may take."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.experiments.experiment import Experiment, full_path
from harness.experiments.fields import flat, with_fields
from harness.system.errors import Mistake

if TYPE_CHECKING:
    from optuna import Trial

Number = float | int


@dataclass(frozen=True)
class Axis:
    """One parameter: a field of the experiment, its name, the values of its grid, and its range.

    Without `low` and `high` only the values of the grid are allowed. `log`: the range is logarithmic. `relative`: all
    numbers are multiples of the scale's value, so that the same sweep fits every scale.
    """

    field: str
    name: str
    grid: tuple[Number, ...] = ()
    low: Number | None = None
    high: Number | None = None
    log: bool = False
    relative: bool = False

    @property
    def values(self) -> tuple[Number, ...]:
        """The values of the grid and the ends of the range."""
        return (*self.grid, *(end for end in (self.low, self.high) if end is not None))

    @property
    def continuous(self) -> bool:
        """Whether it has a range."""
        return self.low is not None

    def of(self, base: Experiment) -> Axis:
        """The axis in absolute values for experiments like `base`; raises `Mistake` if the field is no number there."""
        fields = flat(base)
        if self.field not in fields:
            with_fields(base, {self.field: 0})  # raises the error for this field
        value = fields[self.field]
        if isinstance(value, bool) or not isinstance(value, Number):
            raise Mistake(f"{self.field} = {value!r} is not a number, and a sweep is over numbers")

        def absolute(number: Number) -> Number:
            scaled = float(f"{number * value:.3g}") if self.relative else number  # 3e-05 and not 2.9999999999999997e-05
            if not isinstance(value, int):
                return float(scaled)
            if scaled != int(scaled):
                raise Mistake(f"{self.field} = {scaled:g}: should be a whole number")
            return int(scaled)

        grid = tuple(dict.fromkeys(map(absolute, self.grid)))
        low, high = (None if end is None else absolute(end) for end in (self.low, self.high))
        return dataclasses.replace(self, grid=grid, low=low, high=high, relative=False)

    def suggest(self, trial: Trial) -> Number:
        """The value that the trial has, or else one from Optuna's sampler. The axis has absolute values."""
        if self.low is None or self.high is None:
            return trial.suggest_categorical(self.name, self.grid)
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(self.name, self.low, self.high, log=self.log)
        return trial.suggest_float(self.name, self.low, self.high, log=self.log)

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return ", ".join(f"{value:g}" for value in self.grid)
        return f"{self.low:g} to {self.high:g}{', logarithmic' if self.log else ''}"


def axis(text: str) -> Axis:
    """The axis that FIELD=LOW:HIGH, FIELD=LOW:HIGH:log or FIELD=A,B,C names; raises `Mistake`."""
    path, _, values = text.partition("=")
    path = full_path(path.strip())
    parts = values.removesuffix(":log").split(":") if ":" in values else values.split(",")
    try:
        numbers = [int(part) if part.strip().lstrip("-").isdecimal() else float(part) for part in parts]
    except ValueError:
        numbers = []
    if not numbers or not all(math.isfinite(number) for number in numbers):
        raise Mistake(f"--space {text}: should be FIELD=LOW:HIGH, FIELD=LOW:HIGH:log or FIELD=A,B,C")
    name = path.removeprefix("tokenizer.")
    if ":" not in values:
        return Axis(path, name, grid=tuple(numbers))
    log = values.endswith(":log")
    if len(numbers) != 2 or numbers[0] >= numbers[1] or (log and numbers[0] <= 0):
        ends = "two ends, the lower one first" + (" and above 0" if log else "")
        raise Mistake(f"--space {text}: a range has {ends}")
    return Axis(path, name, low=numbers[0], high=numbers[1], log=log)
