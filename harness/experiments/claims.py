"""Claims of a paper, as data beside the study that tests them. `reports.claims.judge` judges them.

`says` is the claim in words, `source` is its place in the paper. A *quantity* is a metric (of the tokenizer on `val`,
or of generated images, guided if the study has guidance), or one of `reports.claims.quantities.DERIVED`.

The *primary* claims of a study are one family of tests, which together err in 5 % of studies. The others describe,
and each has a test of its own. A claim may have another as its *premise*: without a collapse, nothing prevents one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from harness.experiments.axis import Number

PLACE = re.compile(r"\b(Tables?|Fig|Figs|Figures?|Sections?|Sec|App|Appendix|introduction|abstract|papers?)\b")


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How a claim stands in its study: as one of the primary ones or not, and on which premise.

    `premise` is what another claim of the study `says`, or empty.
    """

    primary: bool = True
    premise: str = ""


@dataclass(frozen=True)
class Difference(Standing):
    """The quantity of `row` is larger (`side` +1) or smaller (-1) than that of the row `than`."""

    says: str
    source: str
    quantity: str
    row: str
    than: str
    side: int


@dataclass(frozen=True)
class AlmostEqual(Standing):
    """The quantities of `row` and `than` differ by less than `margin` times that of `than`.

    `because` explains the margin.
    """

    says: str
    source: str
    quantity: str
    row: str
    than: str
    margin: float
    because: str


@dataclass(frozen=True)
class Level(Standing):
    """The quantity of a row lies above (`side` +1) or below (-1) `threshold`."""

    says: str
    source: str
    quantity: str
    row: str
    threshold: float
    side: int


@dataclass(frozen=True)
class Correlated(Standing):
    """The rank correlation of two quantities over the rows is positive (`side` +1) or negative (-1).

    `paper` holds the pairs of the paper's figure, read by eye.
    """

    says: str
    source: str
    one: str
    other: str
    side: int
    paper: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Faster(Standing):
    """`row` reaches the final gFD of `than` in fewer steps of the generator, in the paper by `factor`."""

    says: str
    source: str
    row: str
    than: str
    factor: float


@dataclass(frozen=True)
class Best(Standing):
    """A metric is best at the value `at` of `field`, among the values that the paper tried.

    `metric` is the paper's metric; `objective` is the one that replaces it here.
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
class Wider(Standing):
    """`row` keeps its latents active at more values of `field` than the row `than`, by the paper's figures.

    `words` name the field in a sentence.
    """

    field: str
    words: str
    row: str
    than: str
    source: str

    @property
    def says(self) -> str:
        return f"{self.row} keeps its latents active at more values of {self.words} than {self.than}"


def of_paper(source: str) -> bool:
    """Whether the source of a claim names a place of the paper, as "Table 3"; "our guess" names none."""
    return PLACE.search(source) is not None


Claim = Difference | AlmostEqual | Level | Correlated | Faster | Best | Wider
