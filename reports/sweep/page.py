"""The Markdown page of a sweep."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from harness.evaluation import collapse
from harness.evaluation.records import heading
from harness.experiments.objectives import OBJECTIVES, PROXY_STAGE
from harness.experiments.requests import SweepRequest
from harness.search.storage import without_password
from harness.search.trials import state_of
from harness.store.runs import Store
from harness.system.texts import plain_markdown
from reports import departures, foils
from reports.gates import Gate, gates, note
from reports.mixtures import changes, mixtures
from reports.pages import index
from reports.pages.rendering import preface, write_page
from reports.provenance import Provenance
from reports.results import Result
from reports.statistics import intervals
from reports.sweep import figures
from reports.sweep.answer import PAPER, Answer
from reports.sweep.points import TriedPoint, TriedPoints
from reports.tables import STATUS_NOTE, cell, headers, markdown, notes, seeds_note, statuses

if TYPE_CHECKING:
    import optuna

TOKENIZER = ("rfd", "psnr", "ssim", "probe", "kl", "linear_gaussian_kl", "active_units")
GENERATION = ("gfd", "classifier_score")


def write(request: SweepRequest, study: optuna.Study, storage: str, store: Store, out: Path) -> str:
    """Writes the page and its figures below `out`; returns what the terminal shows: table, notes, answer, path."""
    page, name = Page(TriedPoints(request, study, store), storage), request.page
    path = write_page("sweep/page.md.j2", out / f"{name}.md", page=page, name=name, drawn=page.draw(out / name))
    index.write(out)
    answer, *others = (line.replace("**", "") for line in page.answer.lines())
    notes = [f"{page.objectives_note} {page.seeds_note}", *(f"- {line}" for line in others), page.dashboard]
    return "\n\n".join([*filter(None, [page.preface]), page.table(), "\n".join(notes), f"{answer}\n{path}"])


@dataclass(frozen=True)
class Page:
    """Markdown for the template."""

    points: TriedPoints
    storage: str

    @property
    def request(self) -> SweepRequest:
        """The request for the sweep."""
        return self.points.request

    @cached_property
    def answer(self) -> Answer:
        """The answer of the sweep."""
        return Answer(self.points)

    @property
    def provenance(self) -> Provenance:
        """The provenance of the numbers."""
        return Provenance(self.points.results)

    @property
    def command(self) -> str:
        """The command that repeats the request."""
        return str(self.points.study.user_attrs.get("command", self.request.command))

    @property
    def preface(self) -> str:
        return preface(self.request.scale.experiment.scale)

    @property
    def objectives_note(self) -> str:
        """A sentence on the objectives."""
        objectives = [f"{o.title} ({o.better} is better)" for o in self.request.objectives]
        return f"Objective: {' and '.join(objectives)}."

    @property
    def notes(self) -> list[str]:
        """The study's notes on rows of the page."""
        return notes(self.request.study, [row.name for row in self.request.chosen_rows()])

    @property
    def seeds_note(self) -> str:
        return seeds_note(self.request.seeds)

    @cached_property
    def gates(self) -> list[Gate]:
        """The conditions on which the page can tell its points apart."""
        return gates(self.points.results) if self.points.results else []

    @property
    def gates_note(self) -> str:
        return note(self.gates, bool(self.departures()))

    def departures(self) -> str:
        """The settings that differ from the paper's, of one of the rows; empty without published numbers."""
        return departures.section(self.request, self.request.chosen_rows()) if self.request.printed else ""

    @property
    def warnings(self) -> list[str]:
        """The warnings at the top of the page."""
        warnings = changes(self.request) + mixtures(self.points.results)
        for point in self.points.all:
            if not point.done:
                reason = f", {plain_markdown(point.reason)}" if point.reason else ""
                warnings.append(f"{self.points.name_of(point.location)}: {point.state_text}{reason}.")
        return warnings

    @property
    def dashboard(self) -> str:
        """The command that opens the study in a browser."""
        return shlex.join(["optuna-dashboard", without_password(self.storage)])

    def table(self) -> str:
        """The table of all points: objectives, other metrics and the paper's values."""
        several, results = len(self.request.chosen_rows()) > 1, self.points.results
        heads = headers(TOKENIZER, results) | self._heads_of_generation(results)
        lines = []
        for point in self.points.all:
            line = {"row": point.location.row} if several else {}
            values = zip(self.points.axes, point.location.values, strict=True)
            line |= {a.name: f"{value:.6g}" for a, (_, value) in values}
            for o in self.request.objectives:
                line[heads.get(o.metric) or heading(o.metric)] = self._cell(point, o.metric, o.stage)
                if self.answer.paper_curve(o):
                    line[f"paper {PAPER[o.metric][1]}"] = self._paper_cell(point, PAPER[o.metric][0])
            for metric in (*TOKENIZER, *GENERATION):
                line.setdefault(heads[metric], self._cell(point, metric))
            line["status"] = statuses(point.results) if point.done else point.state_text
            lines.append(line | {"trial": str(point.number)})
        if not lines:
            return "No trial has begun."
        filled = [name for name in lines[0] if any(line[name] != "–" for line in lines)]
        return markdown([{name: line[name] for name in filled} for line in lines] + self._foils(filled, heads))

    def _foils(self, columns: Sequence[str], heads: Mapping[str, str]) -> list[dict[str, str]]:
        """Lines of the table for principal components, with their name in the first column."""
        lines = foils.lines(self.points.results, heads, "val")
        return [{columns[0]: line["row"]} | {n: text for n, text in line.items() if n in columns} for line in lines]

    def _heads_of_generation(self, results: Sequence[Result]) -> dict[str, str]:
        split = OBJECTIVES["gfd"].split(self.request.experiment(self.request.chosen_rows()[0]))
        return headers(GENERATION, results, split, "generation")

    def _cell(self, point: TriedPoint, metric: str, stage: str = "") -> str:
        if not point.done:
            return "–"
        if metric in GENERATION:
            return cell(point.results, metric, OBJECTIVES["gfd"].split(point.results[0].experiment), "generation")
        return cell(point.results, metric, "val", stage or point.measuring_stage)

    def _paper_cell(self, point: TriedPoint, column: str) -> str:
        """The number in the paper's table for a point."""
        rows, study = self.request.printed, self.request.study
        return rows.get(study.published.get(point.coordinate, ""), {}).get(column) or "–"

    @property
    def measured_features(self) -> bool:
        """Whether the page has Fréchet distances."""
        return "evaluation" in self.request.stages(self.request.scale.experiment)

    @property
    def status_rules(self) -> str:
        return collapse.RULES

    @property
    def status_note(self) -> str:
        return STATUS_NOTE

    @property
    def aside_note(self) -> str:
        """A sentence on where the markers of several rows stand in figures over the only axis."""
        several = len(self.points.by_row) > 1 and len(self.points.axes) == 1
        return "At every value of the axis the rows stand side by side." if several else ""

    def proxy(self) -> str:
        """Sentences on the proxy of pruning and its correlation with the objective; empty without pruning."""
        objective = self.request.objectives[0]
        watched = [t for t in self.points.trials if t.intermediate_values]
        if not watched:
            return ""
        given_up = sum(state_of(t) == "given up early" for t in watched)
        text = f"Pruning used `{objective.proxy}` over the training of the {PROXY_STAGE}, seed 0, and gave up "
        text += f"{given_up} of {len(watched)} trials. "
        if objective.same:
            return f"{text}It is the objective itself, on fewer images and before the end of training."
        text += f"That is a proxy: {objective.title} is known only at the end."
        done = [t for t in watched if state_of(t) == "done"]
        pairs = [(t.intermediate_values[max(t.intermediate_values)], t.values[0]) for t in done]
        rank = intervals.rank_correlation(pairs)
        if rank is not None:
            text += f" Spearman's rank correlation of the two over {len(pairs)} finished trials: {rank:+.2f}."
        return text

    def trials_table(self) -> str:
        """The table of all trials in their order."""
        stage = self.request.objectives[-1].stage
        runs = {point.number: [r.runs[stage].key for r in point.results] for point in self.points.all}
        lines = [
            {
                "trial": str(t.number),
                "point": self.points.name_of(self.request.point(t.params)),
                "state": state_of(t),
                "value": ", ".join(f"{value:.6g}" for value in t.values or []) if state_of(t) == "done" else "–",
                f"runs of {stage}": ", ".join(f"`{key}`" for key in runs.get(t.number, [])),
            }
            for t in self.points.trials
        ]
        return markdown(lines) if lines else ""

    def draw(self, folder: Path) -> dict[str, bool]:
        """Draws all figures with results; returns which it drew."""
        return {
            "objective": figures.objective(self.points, self.answer, folder / "objective.png"),
            "latents": figures.latents(self.points, folder / "latents.png"),
            **figures.of_search(self.points.study, self.request.objectives, folder),
        }
