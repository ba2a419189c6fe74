"""What studies claim, some claims for the judge, and results that are made up for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from harness.experiments.claims import AlmostEqual, Best, Correlated, Difference, Wider
from harness.experiments.experiment import Experiment
from harness.experiments.requests import study_called
from harness.experiments.study import Ablation, Row
from harness.store.records import Record
from harness.store.runs import Run
from harness.system import plugins
from reports.claims.quantities import OF_GENERATION
from reports.results import Result
from tests.conftest import experiment

STUDIES = {name: study_called(name) for name in plugins.names("ablations")}
ABLATIONS = [name for name, study in STUDIES.items() if isinstance(study, Ablation)]
CLAIMED = {f"{name}: {claim.says}": (name, claim) for name, study in STUDIES.items() for claim in study.claims}
Place = tuple[str, str, str]  # stage, split and metric of a number
STEP = 100  # between two points of a curve
MAX_RATIO = "tokenizer.masking.max_ratio"
TRIED = (0.4, 0.5, 0.6, 0.7, 0.8)


# What was measured, made up


@dataclass(frozen=True)
class Given(Result):
    """Numbers by stage, split and metric, some with their 95 % intervals, and curves.

    Every point of a curve is `STEP` steps from the one before.
    """

    numbers: Mapping[Place, float] = field(default_factory=dict)
    intervals: Mapping[Place, tuple[float, float]] = field(default_factory=dict)
    training: Mapping[str, Sequence[float]] = field(default_factory=dict)
    gfds: Mapping[int, float] = field(default_factory=dict)
    finished: bool = True

    def __post_init__(self) -> None:
        self.runs.update({stage: Run(Path(stage) / "0") for stage, _, _ in self.numbers})

    def done(self, stage: str) -> Run | None:
        return Run(Path(stage) / "0") if self.finished else None

    @property
    def state(self) -> str:
        return "done" if self.finished else "tokenizer running"

    def records(self, stage: str) -> list[Record]:
        found = [
            Record(metric, value, 100, 1, split, "", interval=self.intervals.get((of, split, metric)))
            for (of, split, metric), value in self.numbers.items()
            if of == stage
        ]
        of_curve = [Record("gfd", value, 100, step, "samples", "") for step, value in self.gfds.items()]
        return of_curve if stage == "generator_snapshots" else found

    @property
    def curves(self) -> pd.DataFrame:
        frame = pd.DataFrame(dict(self.training), dtype=float)
        return frame.set_index(frame.index * STEP)


def place(name: str) -> Place:
    """Stage, split and metric of a quantity, of a row that is guided."""
    if name == "gfd_unguided":
        return "generation", "samples", "gfd"
    return ("generation", "guided", name) if name in OF_GENERATION else ("evaluation", "val", name)


def given(
    row: str | Row,
    seed: int,
    kl: Sequence[float] = (),
    used: Sequence[float] = (),
    gfds: Mapping[int, float] | None = None,
    finished: bool = True,
    of: Experiment | None = None,
    **numbers: float,
) -> Given:
    """One row and seed with these quantities, KL over its training, and the shuffled-latent error beside it.

    Without `used` the error is always the same, so that KL alone says what is lost.
    """
    of_row = Row(row, "mactok") if isinstance(row, str) else row
    seeded = dataclasses.replace(experiment("mactok") if of is None else of, seed=seed)
    training = {"val/kl": kl, "val/shuffled_error": used or [1.0] * len(kl)} if len(kl) else {}
    found = {place(name): value for name, value in numbers.items()}
    return Given(of_row, seeded, {}, found, {}, training, gfds or {}, finished)


def measured(
    row: str | Row,
    numbers: Mapping[Place, float],
    seed: int = 0,
    intervals: Mapping[Place, tuple[float, float]] | None = None,
    of: Experiment | None = None,
) -> Given:
    """One row and seed with these numbers, by stage, split and metric."""
    return dataclasses.replace(given(row, seed, of=of), numbers=numbers, intervals=intervals or {})


def seeds_of(row: str | Row, name: str, values: Sequence[float]) -> list[Given]:
    """A quantity of a row, one value a seed."""
    return [given(row, seed, **{name: value}) for seed, value in enumerate(values)]


def pair(values: Sequence[float], base: Sequence[float], name: str = "gfd") -> list[Given]:
    return seeds_of("row", name, values) + seeds_of("base", name, base)


def down(name: str = "gfd", side: int = -1) -> Difference:
    return Difference("the row has less", "Table 5", name, "row", "base", side)


NOISY = (100.0, 130.0, 90.0)  # of the base: much more than the differences


def apart(differences: Sequence[float], name: str = "gfd") -> list[Given]:
    """Two rows that differ by so much, by seed."""
    base = NOISY[: len(differences)]
    return pair([b + d for b, d in zip(base, differences, strict=True)], base, name)


# Claims, and results for them


def equal(margin: float = 0.1) -> AlmostEqual:
    return AlmostEqual("nothing more", "Table 6b", "rfd", "row", "base", margin, because="it is a tenth")


PROBE = Correlated("they go together", "Fig. 6a", "probe", "gfd_unguided", -1, paper=((50, 14), (41, 20), (30, 37)))
BEST = Best("gFID", "gfd", MAX_RATIO, at=0.7, among=TRIED, source="Table 4")
NOISE = (-1.0, 0.0, 1.0)


def at(m: float, seed: int, gfd: float) -> Given:
    """Without guidance, as the sweeps are."""
    of = experiment("mactok", guidance__on=False, tokenizer__masking__max_ratio=m)
    return given(f"M = {m:g}", seed, of=of, gfd_unguided=gfd)


def places(means: Mapping[float, float], noise: Sequence[float] = NOISE) -> list[Given]:
    return [at(m, seed, mean + n) for m, mean in means.items() for seed, n in enumerate(noise)]


KL_WEIGHT = "tokenizer.gaussian.kl_weight"
WIDER = Wider(KL_WEIGHT, "the KL weight", "mactok", than="KL-VAE", source="Fig. 1")
WEIGHTS = (3e-5, 1e-4, 3e-4, 1e-3, 3e-3)


def ranges(counts: Mapping[str, Sequence[int]], weights: Sequence[float] = WEIGHTS) -> list[Given]:
    """Rows that are active at so many of the least weights, one number a seed, and partly or collapsed beyond."""
    return [
        given(
            f"{row}, KL weight = {weight:.6g}",
            seed,
            [0.0, 20.0, 20.0 if k < count else 8.0 if k == count else 0.0],
            of=experiment(row.lower().replace("-", "_"), **{KL_WEIGHT.replace(".", "__"): weight}),
        )
        for row, seeds in counts.items()
        for seed, count in enumerate(seeds)
        for k, weight in enumerate(weights)
    ]


def merged(results: Sequence[Given]) -> list[Given]:
    """The numbers of the same row and seed as one result."""
    found: dict[tuple[Row, int], Given] = {}
    for r in results:
        before = found.get((r.row, r.experiment.seed), r)
        numbers = {**before.numbers, **r.numbers}
        found[r.row, r.experiment.seed] = dataclasses.replace(before, numbers=numbers)
    return list(found.values())
