"""The Markdown page of a sweep."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from harness.evaluation import collapse
from harness.evaluation.records import heading
from harness.experiments.objectives import OBJECTIVES, PROXY_STAGE
from harness.experiments.published import published
from harness.experiments.requests import SweepRequest
from harness.search.storage import shown_place
from harness.search.trials import state_of
from harness.store.runs import Store
from reports.provenance import Provenance
from reports.results import Result, mixtures
from reports.statistics import intervals
from reports.sweep import figures
from reports.sweep.answer import PAPER, Answer
from reports.sweep.points import Places, Tried
from reports.tables import cell, headers, markdown, rendered, seeds_note, statuses

if TYPE_CHECKING:
    import optuna

TOKENIZER = ("rfd", "psnr", "ssim", "probe", "kl", "linear_gaussian_kl", "active_units")
GENERATION = ("gfd", "classifier_score")


def write(request: SweepRequest, study: optuna.Study, storage: str, store: Store, out: Path) -> str:
    """Writes the page and its figures below `out`; returns what a terminal shows of it: table, answer, path."""
    page, name = Page(Places(request, study, store), storage), request.page
    path = rendered("sweep/page.md.j2", out / f"{name}.md", page=page, name=name, drawn=page.draw(out / name))
    answer = [f"{page.objectives_note} {page.seeds_note}", *(f"- {line}" for line in page.answer.lines())]
    return "\n\n".join([page.table(), "\n".join(answer), f"{page.dashboard}\n{path}"])


@dataclass(frozen=True)
class Page:
    """What the template asks for, each a piece of Markdown."""

    places: Places
    storage: str

    @property
    def request(self) -> SweepRequest:
        """What was asked."""
        return self.places.request

    @cached_property
    def answer(self) -> Answer:
        """Where it is best."""
        return Answer(self.places)

    @property
    def provenance(self) -> Provenance:
        """What all numbers rest on."""
        return Provenance(self.places.results)

    @property
    def command(self) -> str:
        """What asks the same again."""
        return str(self.places.study.user_attrs.get("command", self.request.command))

    @property
    def objectives_note(self) -> str:
        """What is looked for."""
        told = [f"{o.title} ({o.better} is better)" for o in self.request.objectives]
        return f"Objective: {' and '.join(told)}."

    @property
    def seeds_note(self) -> str:
        return seeds_note(self.request.seeds)

    @property
    def warnings(self) -> list[str]:
        """What stands above the table."""
        found = mixtures(self.places.results)
        for tried in self.places.tried:
            if not tried.done:
                reason = f", {tried.reason}" if tried.reason else ""
                found.append(f"{self.places.named(tried.point)}: {tried.told}{reason}.")
        return found

    @property
    def dashboard(self) -> str:
        """What opens the study in a browser."""
        return shlex.join(["optuna-dashboard", shown_place(self.storage)])

    def table(self) -> str:
        """The objective at every place, what else is known of it, and the paper's values."""
        several, results = len(self.request.chosen_rows()) > 1, self.places.results
        heads = headers(TOKENIZER, results) | self._heads_of_generation(results)
        lines = []
        for tried in self.places.tried:
            line = {"row": tried.point.row} if several else {}
            values = zip(self.places.axes, tried.point.values, strict=True)
            line |= {a.name: f"{value:.6g}" for a, (_, value) in values}
            for o in self.request.objectives:
                line[heads.get(o.metric) or heading(o.metric)] = self._cell(tried, o.metric, o.stage)
                if self.answer.paper_curve(o):
                    line[f"paper {PAPER[o.metric][1]}"] = self._printed(tried, PAPER[o.metric][0])
            for metric in (*TOKENIZER, *GENERATION):
                line.setdefault(heads[metric], self._cell(tried, metric))
            line["status"] = statuses(tried.results) if tried.done else tried.told
            lines.append(line | {"trial": str(tried.number)})
        known = [name for name in (lines[0] if lines else {}) if any(line[name] != "–" for line in lines)]
        return markdown([{name: line[name] for name in known} for line in lines]) if lines else "No trial has begun."

    def _heads_of_generation(self, results: Sequence[Result]) -> dict[str, str]:
        split = OBJECTIVES["gfd"].split(self.request.experiment(self.request.chosen_rows()[0]))
        return headers(GENERATION, results, split, "generation")

    def _cell(self, tried: Tried, metric: str, stage: str = "") -> str:
        if not tried.done:
            return "–"
        if metric in GENERATION:
            return cell(tried.results, metric, OBJECTIVES["gfd"].split(tried.results[0].experiment), "generation")
        return cell(tried.results, metric, "val", stage or tried.measuring)

    def _printed(self, tried: Tried, column: str) -> str:
        """What the paper's table has for a place."""
        rows, study = published(self.request.study.published_table), self.request.study
        return rows.get(study.published.get(tried.value, ""), {}).get(column) or "–"

    @property
    def measured_features(self) -> bool:
        """Whether the page has Fréchet distances."""
        return "evaluation" in self.request.stages(self.request.scale.experiment)

    @property
    def status_rules(self) -> str:
        return collapse.RULES

    def proxy(self) -> str:
        """What pruning looked at, where it did, and how that went with the objective."""
        objective = self.request.objectives[0]
        watched = [t for t in self.places.trials if t.intermediate_values]
        if not watched:
            return ""
        given_up = sum(state_of(t) == "given up early" for t in watched)
        text = f"Pruning looked at `{objective.proxy}` over the training of the {PROXY_STAGE}, seed 0, and gave up "
        text += f"{given_up} of {len(watched)} trials. "
        if objective.same:
            return f"{text}It is the objective itself, on fewer images and before the end."
        text += f"That is a proxy: {objective.title} is known only at the end."
        done = [t for t in watched if state_of(t) == "done"]
        pairs = [(t.intermediate_values[max(t.intermediate_values)], t.values[0]) for t in done]
        rank = intervals.rank_correlation(pairs)
        if rank is not None:
            text += f" Spearman's rank correlation of the two over {len(pairs)} finished trials: {rank:+.2f}."
        return text

    def trials_table(self) -> str:
        """Every trial in the order in which they were asked for."""
        stage = self.request.objectives[-1].stage
        runs = {tried.number: [r.runs[stage].key for r in tried.results] for tried in self.places.tried}
        lines = [
            {
                "trial": str(t.number),
                "place": self.places.named(self.request.point(t.params)),
                "state": state_of(t),
                "value": ", ".join(f"{value:.6g}" for value in t.values or []) if state_of(t) == "done" else "–",
                f"runs of {stage}": ", ".join(f"`{key}`" for key in runs.get(t.number, [])),
            }
            for t in self.places.trials
        ]
        return markdown(lines) if lines else ""

    def draw(self, folder: Path) -> dict[str, bool]:
        """Draws every figure that there are results for."""
        return {
            "objective": figures.objective(self.places, self.answer, folder / "objective.png"),
            "latents": figures.latents(self.places, folder / "latents.png"),
            **figures.of_optuna(self.places.study, self.request.objectives, folder),
        }
