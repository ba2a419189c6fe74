"""The Markdown page of a sweep: the objective over the space, where it is best and how sure that is."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from harness import collapse, plugins
from harness.errors import Mistake
from harness.objectives import OBJECTIVES, PROXY_STAGE, Objective
from harness.search import shown_place
from harness.space import ROW, AskedSweep, Axis, Best, Number, Point, Wider
from harness.store import Store
from harness.study import published
from reports import intervals, sweep_figures
from reports.provenance import Provenance
from reports.results import Result, load, mixtures
from reports.tables import cell, header, markdown, rendered, statuses

if TYPE_CHECKING:
    import optuna

PAPER = {"rfd": ("rfid", "paper rFID"), "gfd": ("gfid", "paper gFID")}
LATENTS = ("probe", "kl", "linear_gaussian_kl", "active_units")
QUALITY = ("rfd", "psnr", "ssim")
GENERATION = ("gfd", "classifier_score")


def write(asked: AskedSweep, study: optuna.Study, storage: str, store: Store, out: Path) -> str:
    """Writes the page and its figures below `out`; returns what a terminal shows of it: table, answer, path."""
    page, name = Page(asked, study, storage, store), asked.page
    path = rendered("sweep.md.j2", out / f"{name}.md", page=page, name=name, drawn=page.draw(out / name))
    answer = [f"{page.objectives_note} {page.seeds_note}", *(f"- {line}" for line in page.answer())]
    return "\n\n".join([page.table(), "\n".join(answer), f"{page.dashboard}\n{path}"])


@dataclass(frozen=True)
class Tried:
    """A place that was tried: the state and number of its last trial, and its results, one a seed."""

    point: Point
    number: int
    state: str
    reason: str
    results: list[Result]

    @property
    def done(self) -> bool:
        """Whether it has values."""
        return self.state == "COMPLETE"

    @property
    def value(self) -> Number:
        """Its place on the one axis, or on the first."""
        return self.point.values[0][1]

    def of(self, objective: Objective) -> list[float]:
        """The objective, one value a seed."""
        split = objective.split(self.results[0].experiment)
        found = [r.value(objective.metric, split, objective.stage) for r in self.results]
        return [record.value for record in found if record is not None]

    def mean(self, objective: Objective) -> float:
        """The objective, mean over seeds."""
        values = self.of(objective)
        return sum(values) / len(values)


@dataclass(frozen=True)
class Page:
    """What the template asks for, each a piece of Markdown."""

    asked: AskedSweep
    study: optuna.Study
    storage: str
    store: Store

    @cached_property
    def axes(self) -> tuple[Axis, ...]:
        """The space."""
        return self.asked.axes

    @cached_property
    def trials(self) -> list[optuna.trial.FrozenTrial]:
        """All trials that were begun."""
        return [t for t in self.study.get_trials() if t.state.name != "WAITING" and len(t.params) >= len(self.axes)]

    @cached_property
    def tried(self) -> list[Tried]:
        """Every place that was tried, row by row, by its values; the last trial speaks for it."""
        rows = [row.name for row in self.asked.chosen_rows()]
        last = {self._point(t): t for t in self.trials}
        found = []
        for point in sorted(last, key=lambda point: (rows.index(point.row), point.values)):
            t = last[point]
            found.append(Tried(point, t.number, t.state.name, t.user_attrs.get("reason", ""), self._results(point)))
        return found

    def _results(self, point: Point) -> list[Result]:
        try:
            experiments = dataclasses.replace(self.asked, points=(point,)).experiments()
        except Mistake:  # values that do not go together: the trial failed by that
            return []
        return load(experiments, self.store, self.asked.stages)

    def _point(self, trial: optuna.trial.FrozenTrial) -> Point:
        row = trial.params.get(ROW, self.asked.chosen_rows()[0].name)
        return Point(row, tuple((a.field, trial.params[a.field]) for a in self.axes))

    @cached_property
    def done(self) -> list[Tried]:
        """The places that have values."""
        return [tried for tried in self.tried if tried.done]

    @cached_property
    def by_row(self) -> dict[str, list[Tried]]:
        """The places that have values, by row."""
        found: dict[str, list[Tried]] = {}
        for tried in self.done:
            found.setdefault(tried.point.row, []).append(tried)
        return found

    @property
    def results(self) -> list[Result]:
        """All results."""
        return [result for tried in self.tried for result in tried.results]

    @property
    def provenance(self) -> Provenance:
        """What all numbers rest on."""
        return Provenance(self.results)

    @property
    def command(self) -> str:
        """What asks the same again."""
        return str(self.study.user_attrs.get("command", self.asked.command))

    @property
    def objectives_note(self) -> str:
        """What is looked for."""
        told = [f"{o.title} ({o.better} is better)" for o in self.asked.objectives]
        return f"Objective: {' and '.join(told)}."

    @property
    def seeds_note(self) -> str:
        if self.asked.seeds == 1:
            return "One seed: no interval."
        return f"Mean over {self.asked.seeds} seeds ± half of its 95 % t interval."

    @property
    def warnings(self) -> list[str]:
        """What stands above the table."""
        found = mixtures(self.results)
        for tried in self.tried:
            if not tried.done:
                told = {"PRUNED": "given up early", "FAIL": "failed", "RUNNING": "not finished"}[tried.state]
                found.append(f"{self.named(tried.point)}: {told}{f', {tried.reason}' if tried.reason else ''}.")
        return found

    def named(self, point: Point) -> str:
        """How a place is called."""
        return self.asked.row_of(point).name

    @property
    def dashboard(self) -> str:
        """What opens the study in a browser."""
        return shlex.join(["optuna-dashboard", shown_place(self.storage)])

    def table(self) -> str:
        """The objective at every place, what else is known of it, and the paper's values."""
        several = len(self.asked.chosen_rows()) > 1
        paper = published(self.asked.study.published_table) if self._beside_paper else {}
        lines = []
        for tried in self.tried:
            line = {"row": tried.point.row} if several else {}
            line |= {a.name: f"{value:.6g}" for a, (_, value) in zip(self.axes, tried.point.values, strict=True)}
            printed = paper.get(self.asked.study.published.get(tried.value, ""), {})
            for o in self.asked.objectives:
                line[header(o.metric)] = self._cell(tried, o.metric)
                if o.metric in PAPER and self._beside_paper:
                    column, title = PAPER[o.metric]
                    line[title] = printed.get(column) or "–"
            for metric in (*QUALITY, *GENERATION, *LATENTS):
                line.setdefault(header(metric), self._cell(tried, metric))
            line["status"] = statuses(tried.results) if tried.done else tried.state.lower()
            lines.append(line | {"trial": str(tried.number)})
        known = [name for name in (lines[0] if lines else {}) if any(line[name] != "–" for line in lines)]
        return markdown([{name: line[name] for name in known} for line in lines]) if lines else "No trial has begun."

    @property
    def _beside_paper(self) -> bool:
        return bool(self.asked.study.published) and len(self.axes) == 1 and not self.asked.space

    def _cell(self, tried: Tried, metric: str) -> str:
        if not tried.done:
            return "–"
        split, stage = "val", "evaluation" if "evaluation" in tried.results[0].runs else "diagnosis"
        if metric in GENERATION:
            split, stage = OBJECTIVES["gfd"].split(tried.results[0].experiment), "generation"
        return cell(tried.results, metric, split, stage)

    def answer(self) -> list[str]:
        """Where the objectives are best, how sure that is, and whether the paper's claims hold."""
        if not self.done:
            return ["No trial is finished."]
        lines = []
        if len(self.asked.objectives) > 1:
            lines.append(self._front())
        for objective in self.asked.objectives:
            for row, places in self.by_row.items():
                lines.append(self._optimum(objective, row, places))
            lines += self._noise(objective)
        lines += [self._verdict(claim) for claim in self.asked.study.claims]
        return lines + self._paper()

    def _front(self) -> str:
        names = [self.named(self._point(t)) for t in self.study.best_trials]
        return f"On the Pareto front, where no other trial is better in all: {'; '.join(dict.fromkeys(names))}."

    def best(self, objective: Objective, places: Sequence[Tried]) -> Tried:
        """The place of the best mean."""
        return (max if objective.better == "higher" else min)(places, key=lambda tried: tried.mean(objective))

    def _optimum(self, objective: Objective, row: str, places: Sequence[Tried]) -> str:
        """The best place of a row, and those that seeds cannot tell from it."""
        best = self.best(objective, places)
        digits = plugins.load("harness.metrics", objective.metric, "metric").digits
        text = f"**{objective.title}** is best at **{self.named(best.point)}**: "
        text += f"{intervals.shown(best.of(objective), digits)}, of {len(places)} places."
        if self.asked.seeds == 1:
            return f"{text} How far the optimum may lie from there: one seed, not estimable."
        alike = self.alike(objective, places)
        if len(alike) == 1:
            return f"{text} All others are worse by paired t tests over {self.asked.seeds} seeds (5 %, Holm)."
        ends = []
        for k, a in enumerate(self.axes):
            values = [tried.point.values[k][1] for tried in alike]
            ends.append(f"{a.name} in [{min(values):.6g}, {max(values):.6g}]")
        return (
            f"{text} Paired t tests over {self.asked.seeds} seeds (5 %, Holm) cannot tell {len(alike) - 1} of the "
            f"others from it: the optimum lies at {', '.join(ends)}, as far as these places tell."
        )

    def alike(self, objective: Objective, places: Sequence[Tried]) -> list[Tried]:
        """The best place, and those that seeds cannot tell from it."""
        best = self.best(objective, places)
        values = {tried.number: tried.of(objective) for tried in places}
        numbers = intervals.not_told_apart(values, best.number)
        return [tried for tried in places if tried.number in numbers]

    def noise(self, objective: Objective) -> float | None:
        """The standard deviation between seeds, pooled over the places; None for one seed."""
        return intervals.pooled_deviation([tried.of(objective) for tried in self.done])

    def _noise(self, objective: Objective) -> list[str]:
        noise = self.noise(objective)
        if noise is None:
            return []
        means = [tried.mean(objective) for tried in self.done]
        digits = plugins.load("harness.metrics", objective.metric, "metric").digits
        return [
            f"Between seeds of one place {objective.title} has a standard deviation of {noise:.{digits}f} (pooled over "
            f"{len(self.done)} places); its means over the places span {max(means) - min(means):.{digits}f}."
        ]

    def _verdict(self, claim: Best | Wider) -> str:
        """Whether a claim of the paper holds here."""
        if isinstance(claim, Best):
            verdict = self._verdict_of_best(claim)
            told = f"{OBJECTIVES[claim.objective].title} is best at {self.axes[0].name} = {claim.at:g}"
            told += f" among {', '.join(f'{value:g}' for value in claim.among)}"
        else:
            verdict = self._verdict_of_wider(claim)
            told = f"{claim.row} keeps its latents active over a wider range than {claim.than}"
        return f"Claim of the paper ({claim.source}): {told}. {verdict}"

    def _verdict_of_best(self, claim: Best) -> str:
        objective = OBJECTIVES[claim.objective]
        if objective not in self.asked.objectives:
            return f"**Not tested** by this objective: `--objective {claim.objective}` does."
        places = [tried for tried in self.done if tried.value in claim.among]
        missing = [value for value in claim.among if value not in [tried.value for tried in places]]
        if missing or len(self.axes) > 1:
            return f"**Undecided**: {', '.join(f'{value:g}' for value in missing)} has no value."
        best = self.best(objective, places)
        if self.asked.seeds == 1:
            return f"**Undecided**: one seed. On it the best of these is {best.value:g}."
        alike = [tried.value for tried in self.alike(objective, places)]
        if claim.at not in alike:
            return f"**Does not hold**: {claim.at:g} is worse than {best.value:g} over {self.asked.seeds} seeds."
        if alike == [claim.at]:
            return f"**Holds** over {self.asked.seeds} seeds."
        others = ", ".join(f"{value:g}" for value in alike if value != claim.at)
        return (
            f"**Undecided**: {self.asked.seeds} seeds cannot tell {claim.at:g} from {others}; best is {best.value:g}."
        )

    def active(self, row: str, seed: int) -> list[Number]:
        """The values of the first axis at which the latents of a row are active at the end."""
        return [t.value for t in self.by_row.get(row, []) if t.results[seed].status == "active"]

    def _verdict_of_wider(self, claim: Wider) -> str:
        if {claim.row, claim.than} - set(self.by_row) or len(self.axes) > 1:
            return "**Not tested**: it takes both rows and one axis."
        tried = {row: {t.value for t in self.by_row[row]} for row in (claim.row, claim.than)}
        if tried[claim.row] != tried[claim.than]:
            return "**Undecided**: the two rows have values at different places."
        gains = [
            float(len(self.active(claim.row, seed)) - len(self.active(claim.than, seed)))
            for seed in range(self.asked.seeds)
        ]
        told = f"{claim.row} is active at {self._steps(claim.row)}, {claim.than} at {self._steps(claim.than)}"
        half = intervals.half_width(gains)
        if half is None:
            return f"**Undecided**: one seed. On it {told}."
        mean = sum(gains) / len(gains)
        verdict = "Holds" if mean - half > 0 else "Does not hold" if mean + half <= 0 else "Undecided"
        return f"**{verdict}** over {len(gains)} seeds: {told} (mean difference {mean:+.1f} ± {half:.1f} values)."

    def _steps(self, row: str) -> str:
        """At how many of its values a row is active, by seed."""
        counts = [len(self.active(row, seed)) for seed in range(self.asked.seeds)]
        return f"{', '.join(map(str, counts))} of {len(self.by_row[row])} values"

    def _paper(self) -> list[str]:
        """Where the paper's own table has its best value."""
        lines = []
        for o in self.asked.objectives if self._beside_paper else ():
            if o.metric in PAPER:
                column, title = PAPER[o.metric]
                curve = self.paper_curve(column)
                at = (max if o.better == "higher" else min)(curve, key=lambda value: curve[value])
                lines.append(f"In the paper's table {title.removeprefix('paper ')} is best at {at:g} ({curve[at]:g}).")
        return lines

    def paper_curves(self) -> dict[str, dict[Number, float]]:
        """The paper's curve of every objective that it has one of."""
        metrics = [o.metric for o in self.asked.objectives if o.metric in PAPER and self._beside_paper]
        return {metric: self.paper_curve(PAPER[metric][0]) for metric in metrics}

    def paper_title(self, objective: Objective) -> str:
        """How the paper's curve is called."""
        title = PAPER[objective.metric][1].removeprefix("paper ")
        return f"{title} of the paper's Table {self.asked.study.published_table}"

    def values(self, tried: Tried, metric: str) -> list[float]:
        """What else was measured of the tokenizer at a place, one value a seed."""
        stage = "evaluation" if "evaluation" in tried.results[0].runs else "diagnosis"
        return [record.value for r in tried.results if (record := r.value(metric, "val", stage)) is not None]

    @property
    def measured_features(self) -> bool:
        """Whether the page has Fréchet distances."""
        return "evaluation" in self.asked.stages(self.asked.scale.experiment)

    @property
    def status_rules(self) -> str:
        return collapse.RULES

    def paper_curve(self, column: str) -> dict[Number, float]:
        """The paper's numbers over the axis."""
        rows = published(self.asked.study.published_table)
        named = self.asked.study.published.items()
        return {value: float(rows[name][column]) for value, name in named if rows[name][column]}

    def ranges(self) -> str:
        """For every row the values at which its latents are active, partly collapsed, or collapsed."""
        if len(self.axes) > 1:
            return ""
        lines = []
        for row, places in self.by_row.items():
            found: dict[str, list[str]] = {}
            for tried in places:
                for state in dict.fromkeys(r.status for r in tried.results):
                    found.setdefault(state, []).append(f"{tried.value:.6g}")
            states = ("active", "partly", "collapsed", "never active")
            lines.append({"row": row} | {state: ", ".join(found.get(state, [])) or "–" for state in states})
        return markdown(lines) if lines else ""

    def proxies(self) -> list[str]:
        """What pruning looked at, where it did, and how that went with the objective."""
        objective = self.asked.objectives[0]
        watched = [t for t in self.trials if t.intermediate_values]
        if not watched:
            return []
        given_up = sum(t.state.name == "PRUNED" for t in watched)
        text = (
            f"Pruning looked at `{objective.proxy}` of the {PROXY_STAGE}'s training (seed 0) and gave up {given_up} of "
        )
        text += f"{len(watched)} trials. "
        if objective.same:
            return [f"{text}It is the objective itself, on fewer images."]
        text += f"That is a proxy: {objective.title} is known only at the end."
        done = [t for t in watched if t.state.name == "COMPLETE"]
        pairs = [(t.intermediate_values[max(t.intermediate_values)], t.values[0]) for t in done]
        rank = intervals.rank_correlation(pairs)
        if rank is not None:
            text += f" Spearman's rank correlation of the two over {len(pairs)} finished trials: {rank:+.2f}."
        return [text]

    def trials_table(self) -> str:
        """Every trial in the order in which they were asked for."""
        keys = {tried.number: tried for tried in self.tried}
        lines = []
        for t in self.trials:
            stage = self.asked.objectives[-1].stage
            runs = [r.runs[stage].key for r in keys[t.number].results] if t.number in keys else []
            values = ", ".join(f"{value:.6g}" for value in t.values or [])
            lines.append(
                {
                    "trial": str(t.number),
                    "place": self.named(self._point(t)),
                    "state": {"PRUNED": "given up", "FAIL": "failed"}.get(t.state.name, t.state.name.lower()),
                    "value": values or "–",
                    "runs": ", ".join(f"`{key}`" for key in runs),
                }
            )
        return markdown(lines) if lines else ""

    def draw(self, folder: Path) -> dict[str, bool]:
        """Draws every figure that there are results for."""
        return {
            "objective": sweep_figures.objective(self, folder / "objective.png"),
            "latents": sweep_figures.latents(self, folder / "latents.png"),
            **sweep_figures.of_optuna(self.study, self.asked.objectives, folder),
        }
