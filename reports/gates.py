"""Gates: whether a page can tell its rows apart at all, before they are compared."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.evaluation.records import digits_of, number
from reports.claims import quantities
from reports.results import Result, rows_of, trained_here

ROOM = 0.5  # gFD of reconstructions over that of the base row, at most
STANDARD_ERRORS = 2.0  # by which a generator beats N(0, I)
LEAST_PRECISION = 0.3
CLEARLY_LESS = 0.8  # KL over the linear-Gaussian KL
LARGE_NATS = 10.0  # the least linear-Gaussian KL whose loss can be seen
NORMAL_95 = 1.96  # standard errors in half of a 95 % interval
OF_GENERATION = frozenset({*quantities.OF_GENERATION, "gfd_unguided", quantities.STEPS})


@dataclass(frozen=True)
class Gate:
    """A condition on a page, whether it is met (None: not measured), by which numbers, and what follows if it is not.

    Quantities that it `stops` say nothing where it fails. `rows` are those that fail, of a gate for every row.
    `error` says what ± is in its numbers, if there is any; `lacks` what is missing here of one that is not measured.
    """

    condition: str
    passed: bool | None
    measured: str
    otherwise: str
    stops: frozenset[str] = frozenset()
    rows: tuple[str, ...] = ()
    error: str = ""
    lacks: str = ""

    def bars(self, names: Sequence[str], rows: Sequence[str]) -> bool:
        """Whether quantities called `names` say nothing about `rows`."""
        here = not self.rows or not set(self.rows).isdisjoint(rows)
        return self.passed is False and here and not self.stops.isdisjoint(names)

    def __str__(self) -> str:
        verdict = {True: "passed", False: "**failed**", None: "not measured"}[self.passed]
        numbers = "; ".join(filter(None, [self.measured, self.error, self.lacks]))
        text = f"{verdict}: {self.condition}" + (f" ({numbers})" if numbers else "")
        return text if self.passed else f"{text}. {'If it fails' if self.passed is None else 'So'}, {self.otherwise}"


def counted(found: Sequence[Gate]) -> str:
    """How many gates fail, pass and are not measured."""
    counts = {
        "failed": sum(gate.passed is False for gate in found),
        "passed": sum(gate.passed is True for gate in found),
        "not measured": sum(gate.passed is None for gate in found),
    }
    (first, many), *others = [(text, many) for text, many in counts.items() if many]
    gates = f"gate{'s' * (len(found) > 1)}"
    return ", ".join([f"{many} of {len(found)} {gates} {first}", *(f"{many} {text}" for text, many in others)])


def note(found: Sequence[Gate], departs: bool) -> str:
    """What a page folds: its gates, counted, and whether there are settings that differ from the paper's."""
    told = counted(found) if found else "No gate: no tokenizer is trained here"
    return told + ("; settings that differ from the paper's" if departs else "")


def gates(results: Sequence[Result]) -> list[Gate]:
    """The gates of a page, by the tokenizers that are trained here; none without such.

    Where latents alone are measured there is one, on them.
    """
    if not (results := trained_here(results)):
        return []
    if all("diagnosis" in r.runs for r in results):
        return [_has_to_lose(results)]
    found = [_beats_components(results)]
    if any(r.experiment.generator.on for r in results):
        found += [_room(results), _beats_prior(results), _precise(results)]
    return [*found, _has_to_lose(results)]


def _beats_components(results: Sequence[Result]) -> Gate:
    rows = [r for r in results if r.row.variant == "autoencoder"]
    texts, passed = [], []
    for metric, split, digits, side in (("psnr", "val", 2, 1), ("psnr", "val_unseen", 2, 1), ("rfd", "val", 1, -1)):
        own, foil = _mean(rows, metric, split, "evaluation"), _mean(rows, metric, split, "pca")
        if own is not None and foil is not None:
            passed.append(side * (own - foil) > 0)
            name = {"psnr": "PSNR", "rfd": "rFD"}[metric]
            texts.append(f"{name} on {split} {number(own, digits)} against {number(foil, digits)}")
    return Gate(
        "in PSNR and rFD, the autoencoder beats as many principal components as its latents have numbers",
        all(passed) if passed else None,
        "; ".join(texts),
        "the networks are worse than a linear model, and their rows may differ only because the training is too short",
        OF_GENERATION | {"rfd", "psnr", "ssim", "kid"},
        lacks="" if passed else _lacking(rows, ["evaluation", "pca"], "row of the variant `autoencoder`"),
    )


def _room(results: Sequence[Result]) -> Gate:
    bases = [r.row.base for r in results if r.row.base]
    base = [r for r in results if r.row.name == (bases or [results[0].row.name])[0]]
    guided = base[0].experiment.guidance.on if base else False
    floor = _mean(base, "gfd", "reconstructions", "generation")
    own = _mean(base, "gfd", "guided" if guided else "samples", "generation")
    digits = digits_of("gfd", results[0].experiment.evaluation.network)
    return Gate(
        "reconstructions of training images have less than half of the gFD of the base row's samples",
        floor < ROOM * own if floor is not None and own is not None else None,
        ""
        if floor is None or own is None
        else f"{base[0].row.name}: {number(floor, digits)} against {number(own, digits)}",
        "the decoder makes most of gFD, and the generator little",
        frozenset({quantities.STEPS}),
        lacks=_lacking(base, ["generation"], "base row") if floor is None or own is None else "",
    )


def _beats_prior(results: Sequence[Result]) -> Gate:
    digits = digits_of("gfd", results[0].experiment.evaluation.network)

    def passes(seeds: Sequence[Result]) -> tuple[bool, str] | None:
        gains = [
            (r, prior.value - own.value)
            for r in seeds
            if (own := r.value("gfd", "samples", "generation")) and (prior := r.value("gfd", "prior", "generation"))
        ]
        mean, error = _mean_and_error(gains)
        if mean is None or error is None:
            return None
        return mean > STANDARD_ERRORS * error, f"by {number(mean, digits, error)}"

    found = _of_rows(
        results,
        passes,
        "the generator has a lower gFD than draws from N(0, I), by more than two standard errors",
        "the samples say nothing about the generator",
        OF_GENERATION,
    )
    several = any(len(seeds) > 1 for seeds in rows_of(results).values())
    error = f"± is the standard error over {'seeds' if several else 'images, as there is one seed'}"
    return dataclasses.replace(found, error=error if found.measured else "")


def _mean_and_error(gains: Sequence[tuple[Result, float]]) -> tuple[float | None, float | None]:
    """The mean over seeds and its standard error; for one seed the error over images."""
    values = [gain for _, gain in gains]
    if not values:
        return None, None
    mean = sum(values) / len(values)
    if len(values) > 1:
        return mean, math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values))
    errors = [_error_of(gains[0][0], split) for split in ("samples", "prior")]
    return mean, None if None in errors else math.hypot(*(error or 0.0 for error in errors))


def _precise(results: Sequence[Result]) -> Gate:
    def passes(seeds: Sequence[Result]) -> tuple[bool, str] | None:
        value = _mean(seeds, "precision", "reconstructions", "generation")
        return None if value is None else (value > LEAST_PRECISION, f"{value:.3f}")

    return _of_rows(
        results,
        passes,
        f"the precision of reconstructions is above {LEAST_PRECISION}",
        "reconstructions do not look like real images, and precision and gFD cannot judge single images",
        frozenset({"precision", "recall"}),
    )


def _has_to_lose(results: Sequence[Result]) -> Gate:
    rows = [r for r in results if r.row.variant == "kl_vae"]
    means: dict[str, tuple[float, float]] = {}
    for name, seeds in rows_of(rows).items():
        kl, optimum = (_mean(seeds, metric, "val", seeds[0].latents_stage) for metric in ("kl", "linear_gaussian_kl"))
        if kl is not None and optimum is not None:
            means[name] = kl, optimum
    lost = [name for name, (kl, optimum) in means.items() if kl < CLEARLY_LESS * optimum and optimum >= LARGE_NATS]
    small = all(optimum < LARGE_NATS for _, optimum in means.values())
    texts = [
        f"{name}: " * (len(means) > 1) + f"{kl:.1f} of {optimum:.1f} nats"
        for name, (kl, optimum) in means.items()
        if name in (lost or means)
    ]
    return Gate(
        f"the plain KL-VAE has less than {CLEARLY_LESS:.0%} of a linear-Gaussian KL of at least {LARGE_NATS:g} nats",
        bool(lost) if means else None,
        "; ".join(texts),
        f"at {'these KL weights' if len(means) > 1 else 'this KL weight'} even a linear model holds too little for a "
        "collapse to be seen"
        if means and small
        else "there is no collapse here that a method could prevent",
        lacks="" if means else _lacking(rows, [r.latents_stage for r in rows[:1]], "row of the variant `kl_vae`"),
    )


def _of_rows(
    results: Sequence[Result],
    passes: Callable[[Sequence[Result]], tuple[bool, str] | None],
    condition: str,
    otherwise: str,
    stops: frozenset[str],
) -> Gate:
    """A gate that every row has to pass."""
    outcomes = {name: outcome for name, seeds in rows_of(results).items() if (outcome := passes(seeds)) is not None}
    texts = [f"{name} {text}{'' if passed else ' fails'}" for name, (passed, text) in outcomes.items()]
    failed = tuple(name for name, (passed, _) in outcomes.items() if not passed)
    lacks = "" if outcomes else _lacking(results, ["generation"], "row")
    return Gate(condition, not failed if outcomes else None, "; ".join(texts), otherwise, stops, failed, lacks=lacks)


def _lacking(results: Sequence[Result], stages: Sequence[str], needed: str) -> str:
    """Why the results of a `needed` row have no numbers of `stages`."""
    if not results:
        return f"this page has no {needed}"
    never = [stage for stage in stages if not any(stage in r.runs for r in results)]
    unfinished = [stage for stage in stages if stage not in never and not any(r.done(stage) for r in results)]
    for text, found in (("this page does not run", never), ("not finished here:", unfinished)):
        if found:
            return f"{text} {' and '.join(f'`{stage}`' for stage in found)}"
    return "the numbers or the errors that it compares are missing"


def _error_of(result: Result, split: str) -> float | None:
    """The standard error of gFD over images: that of its extrapolation, which is the larger one."""
    record = result.value("gfd_infinity", split, "generation")
    if record is None or record.interval is None:
        return None
    return (record.interval[1] - record.interval[0]) / (2 * NORMAL_95)


def _mean(results: Sequence[Result], metric: str, split: str, stage: str) -> float | None:
    measured = [r.value for result in results if (r := result.value(metric, split, stage)) is not None]
    return sum(measured) / len(measured) if measured else None
