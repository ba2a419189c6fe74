"""The noise of a table: which seeds make it, what the next hour is best spent on, and what the study can see."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median

from harness.evaluation.records import digits_of, heading
from harness.experiments.claims import AlmostEqual
from reports.claims import quantities
from reports.claims.verdicts import Ruling
from reports.figures import few_ticks, legend, panels, save, shades
from reports.results import OF_GENERATOR, SHARED, Result, costs, protocol_of
from reports.statistics import power
from reports.statistics.components import Components, Nested, components
from reports.tables import markdown

HOUR = 3600.0
SEEDS = (3, 5, 8, 12)  # of the curves of power
CERTAIN = 99.5  # %, the power at which the panels end
PUBLISHED = "an effect in the paper"
WIDEST, POINTS = 6.0, 60  # of a curve: its largest effect in deviations, unless less is possible, and its points
LETTERS = 36  # of a line below an axis


@dataclass(frozen=True)
class Noise:
    """The deviations of some metrics by the seeds that cause them; `metrics` are metric, split and stage."""

    results: Sequence[Result]
    metrics: Sequence[tuple[str, str, str]]

    @cached_property
    def parts(self) -> dict[str, Components]:
        """The components of variance by metric, where rows and seeds are complete and several."""
        found = {metric: components(self._nested(metric, split, stage)) for metric, split, stage in self.metrics}
        return {metric: parts for metric, parts in found.items() if parts is not None}

    def _nested(self, metric: str, split: str, stage: str) -> Nested:
        values: dict[str, dict[int, dict[int, dict[int, float]]]] = {}
        for result in self.results:
            for r in (result, *(result.repeats if stage in OF_GENERATOR else ())):
                if (record := r.own_value(metric, split, stage)) is not None:
                    of_seed = values.setdefault(r.row.name, {}).setdefault(r.experiment.seed, {})
                    generator, draw = r.experiment.generator_seed or 0, r.experiment.sampling_seed or 0
                    of_seed.setdefault(generator, {})[draw] = record.value
        return values

    def table(self) -> str:
        """Standard deviations by metric and seed; empty for one seed or row."""
        lines = []
        for metric, *at in self.metrics:
            if (parts := self.parts.get(metric)) is None:
                continue
            digits = digits_of(metric, protocol_of(self.results, metric, *at))
            shown: dict[str, float | None] = {"common to all rows": parts.common, "of the tokenizer": parts.tokenizer}
            shown |= {"of the generator": parts.generator, "of the samples": parts.samples}
            line = {"metric": heading(metric, protocol_of(self.results, metric, *at))}
            lines.append(line | {name: "–" if v is None else f"{v**0.5:.{digits}f}" for name, v in shown.items()})
        return markdown(lines) if lines else ""

    def advice(self) -> str:
        """What one more hour on this machine is best spent on, for gFD; empty if it is not known."""
        parts = self.parts.get("gfd")
        if parts is None:
            return ""
        rows, seeds, generators = parts.rows, parts.seeds, parts.generators
        tokenizer, generator = self._seconds()
        if not (tokenizer > 0 and generator > 0):
            return ""
        now = parts.error(seeds, generators)
        more_seeds = HOUR / (rows * (tokenizer + generators * generator))
        then = parts.error(seeds + more_seeds, generators)
        text = (
            f"The standard error of a difference of gFD is {now:.3g}. With one more hour every row would have "
            f"{more_seeds:.3g} more seeds, and that error would be {then:.3g}"
        )
        if parts.generator is None:
            return f"{text}. Whether more generators would do better is not known: `--generator-seeds 2` measures it."
        more_generators = HOUR / (rows * seeds * generator)
        with_generators = parts.error(seeds, generators + more_generators)
        better = "seeds" if then <= with_generators else "generators"
        return (
            f"{text}; or every tokenizer would have {more_generators:.3g} more generators, and it would be "
            f"{with_generators:.3g}. So {better} are the better use of the hour."
        )

    def _seconds(self) -> tuple[float, float]:
        """Seconds of a tokenizer with its measures, and of one of its generators with its samples; means over rows."""
        of_rows = costs(self.results).drop(index=SHARED, columns="sum", errors="ignore")
        of_generator = [stage for stage in of_rows if stage in OF_GENERATOR]
        generator = of_rows[of_generator].sum(axis=1).mean()
        return float(of_rows.sum(axis=1).mean() - generator), float(generator)


def with_power(rulings: Sequence[Ruling]) -> dict[str, list[Ruling]]:
    """The rulings on claims that seek an effect on a quantity, as far as one was measured, by the quantity."""
    found: dict[str, list[Ruling]] = {}
    for ruling in rulings:
        name = "" if isinstance(ruling.claim, AlmostEqual) else getattr(ruling.claim, "quantity", "")
        if ruling.alone.effect is not None and name:
            found.setdefault(name, []).append(ruling)
    return found


def draw_power(rulings: Sequence[Ruling], path: Path) -> bool:
    """Draws how often studies of several numbers of seeds find an effect, over its size; one panel per quantity."""
    by_unit = with_power(rulings)
    if not by_unit:
        return False
    drawing, axes = panels(len(by_unit), 2.1)
    for axis, (name, of_unit) in zip(axes, by_unit.items(), strict=True):
        effects = [ruling.alone.effect for ruling in of_unit if ruling.alone.effect is not None]
        deviation, level = median(e.deviation for e in effects), min(ruling.first_level for ruling in of_unit)
        per_seed = median(e.freedom / (e.n - 1) for e in effects)
        most = min(WIDEST * deviation, max(ruling.alone.most for ruling in of_unit))
        sizes = [k * most / POINTS for k in range(1, POINTS + 1)]
        for seeds, shade, dashes in zip(SEEDS, shades(len(SEEDS)), ("-", "--", "-.", ":"), strict=True):
            found = [100 * power.power(size, deviation, seeds, per_seed * (seeds - 1), level) for size in sizes]
            sizes = sizes[: 1 + sum(share < CERTAIN for share in found)]  # the fewest seeds come first
            axis.plot(sizes, found[: len(sizes)], color=shade, linestyle=dashes, label=f"{seeds} seeds")
        for ruling in of_unit:
            if ruling.alone.published:
                axis.axvline(abs(ruling.alone.published), color="#666666", linewidth=1, label=PUBLISHED)
        unit = quantities.unit(name)
        axis.set_xlabel(textwrap.fill(f"effect: {quantities.title(name)}{f' ({unit})' if unit else ''}", LETTERS))
        axis.set_ylabel("power (%)")
        few_ticks(axis.xaxis)
        axis.set_ylim(0, 102)
        axis.grid(alpha=0.3)
    legend(drawing, [*(f"{seeds} seeds" for seeds in SEEDS), PUBLISHED])
    save(drawing, path)
    return True
