"""Claims: what a paper says, as data that stands beside the study that tests it. `reports.claims.judge` judges them.

`says` is the claim in words, `source` where the paper makes it. A *quantity* is a metric (of the tokenizer on `val`, or
of generated images: guided where the study guides), or one of `reports.claims.quantities.DERIVED`.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.experiments.axis import Number


@dataclass(frozen=True)
class Difference:
    """Row minus another lies on `side` of 0: +1 the row has more of the quantity, -1 less."""

    says: str
    source: str
    quantity: str
    row: str
    than: str
    side: int


@dataclass(frozen=True)
class AlmostEqual:
    """Row minus another is less than `margin` times the other, either way; `because` says why that margin."""

    says: str
    source: str
    quantity: str
    row: str
    than: str
    margin: float
    because: str


@dataclass(frozen=True)
class Level:
    """The quantity of a row lies above (`side` +1) or below (-1) `threshold`."""

    says: str
    source: str
    quantity: str
    row: str
    threshold: float
    side: int


@dataclass(frozen=True)
class Correlated:
    """Over the rows, two quantities rise together (`side` +1) or against each other (-1), in ranks.

    `paper` are the pairs of its figure, read off by eye.
    """

    says: str
    source: str
    one: str
    other: str
    side: int
    paper: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Faster:
    """The row reaches the gFD at which another ends in fewer steps of the generator; the paper says by which factor."""

    says: str
    source: str
    row: str
    than: str
    factor: float


@dataclass(frozen=True)
class Best:
    """A metric is best where `field` is `at`, among the values that the paper tried.

    `metric` is the paper's; `objective` is ours in its place.
    """

    metric: str
    objective: str
    field: str
    at: Number
    among: tuple[Number, ...]
    source: str

    @property
    def says(self) -> str:
        return f"{self.metric} is best at {self.at:g} among {', '.join(f'{value:g}' for value in self.among)}"


@dataclass(frozen=True)
class Wider:
    """What follows from the paper's figures: a row keeps its latents active at more values of `field` than another."""

    field: str
    row: str
    than: str
    source: str

    @property
    def says(self) -> str:
        return f"{self.row} keeps its latents active at more values of {self.field} than {self.than}"


Claim = Difference | AlmostEqual | Level | Correlated | Faster | Best | Wider
