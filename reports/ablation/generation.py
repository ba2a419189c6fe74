"""The part of an ablation's page on generated images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.data.splits import open_split
from harness.evaluation import records
from harness.experiments.experiment import Guide
from harness.experiments.requests import AblationRequest
from reports import figures, foils
from reports.ablation.curves import generator_curves
from reports.ablation.figures import of_data, probe_against_gfd
from reports.results import Result, by_data_set, pictured, protocol_of, rows_of, shared
from reports.statistics import intervals
from reports.tables import cell, cells_of_plugins, head_cells, headers, markdown, printed_only, statuses

METRICS = ("gkid", "gfd", "gfd_infinity", "classifier_score", "precision", "recall")  # with few images gKD comes first
PAPER = {"gfd": ("gfid", "paper gFID"), "classifier_score": ("is", "paper IS")}
COMPARISON_SETS = {
    "fresh": "new images, drawn as those of training",
    "real": "images of `val`",
    "mean image": "mean image",
    "noise": "pixel noise",
}
NAMES = {"samples": "without guidance", "guided": "with guidance"}
SHOWN = 8  # images of every set in the figure
REAL = "images of val"


@dataclass(frozen=True)
class Generation:
    """Markdown for the template about the rows that have a generator."""

    request: AblationRequest
    results: Sequence[Result]

    def __bool__(self) -> bool:
        return any(r.experiment.generator.on for r in self.results)

    @property
    def rows(self) -> dict[str, list[Result]]:
        """The results of rows with a generator, by row."""
        return rows_of([r for r in self.results if r.experiment.generator.on])

    @property
    def first(self) -> Result:
        """The first result with a generator; the rows share its settings of generation."""
        return next(r for r in self.results if r.experiment.generator.on)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics of the tables."""
        return tuple(metric for metric in METRICS if metric not in self.request.study.hides)

    @property
    def guided(self) -> bool:
        """Whether the rows use guidance."""
        return self.first.experiment.guidance.on

    @property
    def main_set(self) -> str:
        """The set of images that is compared with the paper."""
        return "guided" if self.guided else "samples"

    @property
    def main_set_name(self) -> str:
        """The name of that set in texts."""
        return NAMES[self.main_set]

    @property
    def snapshot_images(self) -> int:
        """The number of images of a point of gFD over the training of the generator."""
        run = shared(self.results, "generator_snapshots")
        return run.records()[0].n if run else 0

    def table(self) -> str:
        """The table of generation, with the paper's numbers if it has such a table."""
        paper, heads = self.request.printed, self._heads(self.main_set)
        lines = []
        for name, seeds in self.rows.items():
            line = head_cells(name, seeds, self.results)
            of_paper = paper.get(seeds[0].row.published or "", {})
            for metric in self.metrics:
                line[heads[metric]] = cell(seeds, metric, self.main_set, "generation")
                if paper and metric in PAPER:
                    column, title = PAPER[metric]
                    line[title] = of_paper.get(column) or "–"
            line |= cells_of_plugins("generation", seeds, self.results, self.main_set)
            lines.append(line | {"status": statuses(seeds)})
        lines += foils.lines(self.results, heads, "prior") + self._comparison_lines()
        return markdown(lines + printed_only(self.request, dict(PAPER.values())))

    def table_without_guidance(self) -> str:
        """The table without guidance."""
        heads = self._heads("samples")
        return markdown(
            [
                head_cells(name, seeds, self.results)
                | {heads[metric]: cell(seeds, metric, "samples", "generation") for metric in self.metrics}
                for name, seeds in self.rows.items()
            ]
        )

    def gap_table(self) -> str:
        """The table of what a generator can close: from N(0, I) to its decoder's floor, in images and in latents."""
        gfd = records.title("gfd", protocol_of(self.results, "gfd", "samples", "generation"))
        heads = {metric: records.heading(metric) for metric in ("latent_fd", "two_sample")}
        lines = []
        for name, seeds in self.rows.items():
            line = head_cells(name, seeds, self.results)
            line[f"{gfd} of N(0, I)"] = cell(seeds, "gfd", "prior", "generation")
            line[f"{gfd}, unguided ↓"] = cell(seeds, "gfd", "samples", "generation")
            line["floor: of reconstructions"] = cell(seeds, "gfd", "reconstructions", "generation")
            line["gap closed (%) ↑"] = self._closed(seeds)
            for metric, head in heads.items():
                line[head] = cell(seeds, metric, "samples", "generation")
                line[f"{records.title(metric, records.PROTOCOL)} of N(0, I)"] = cell(
                    seeds, metric, "prior", "generation"
                )
            line["velocity error on val ↓"] = self._velocity(seeds)
            lines.append(line)
        return markdown(lines)

    def _closed(self, seeds: Sequence[Result]) -> str:
        """The share of the gap between N(0, I) and the floor that the generator closes, in %."""
        shares = []
        for r in seeds:
            prior, own, floor = (r.value("gfd", s, "generation") for s in ("prior", "samples", "reconstructions"))
            if prior and own and floor and prior.value > floor.value:
                shares.append(100 * (prior.value - own.value) / (prior.value - floor.value))
        return intervals.shown(shares, 0) if shares else "–"

    def _velocity(self, seeds: Sequence[Result]) -> str:
        curves = [r.curves_of("generator").get("val/velocity") for r in seeds if r.done("generator")]
        ends = [float(curve.dropna().iloc[-1]) for curve in curves if curve is not None and len(curve.dropna())]
        return intervals.shown(ends, 3) if ends else "–"

    def _heads(self, split: str) -> dict[str, str]:
        return headers(self.metrics, self.results, split, "generation")

    def _comparison_lines(self) -> list[dict[str, str]]:
        """Lines of the table for sets of images that no row generated."""
        lines: dict[tuple[str, str], dict[str, str]] = {}
        for data, results in by_data_set(self.results).items():
            run, images = shared(results, "reference"), {"images": f"`{data}`"} if data else {}
            for r in run.records() if run else []:
                head = {"row": f"*{COMPARISON_SETS[r.split]} (N = {r.n})*"} | images
                line = lines.setdefault((data, r.split), head)
                protocol = records.protocol_in(r.protocol_id)
                digits = records.digits_of(r.metric, protocol)
                line[records.heading(r.metric, protocol)] = records.number(r.value, digits)
        return list(lines.values())

    def guidance_note(self) -> str:
        """Sentences on how the scale of guidance was chosen, here and in the paper."""
        guidance = self.first.experiment.guidance
        if guidance.searched:
            grid = ", ".join(map(str, guidance.grid))
            return (
                f"The guidance of a row (t = 0 is the data) is the one of {grid} that has the lowest gFD over "
                f"{guidance.search_images} separate samples. This table does not use these samples."
            )
        note = f"Guidance {guidance.grid[0]} (t = 0 is the data) is the same for every row."
        if any(row.get("cfg") == "best" for row in self.request.printed.values()):
            note += " In the paper each row has the best scale of a grid."
            note += " The study `guidance` searches for the best scales here."
        return note

    @property
    def searched(self) -> bool:
        """Whether the scale of guidance was searched on a grid."""
        return self.guided and self.first.experiment.guidance.searched

    def guidance_table(self) -> str:
        """The table of gFD and classifier score by scale and interval of guidance, with the choice."""
        lines, grid = [], self.first.experiment.guidance.grid
        largest = max(guide.scale for guide in grid)
        for name, seeds in self.rows.items():
            choices = [Guide(**run.fact("guide")) for r in seeds if (run := r.done("guidance"))]
            for metric in ("gfd", "classifier_score"):
                heads = headers([metric], self.results, f"guidance {grid[0]}", "guidance")
                line = head_cells(name, seeds, self.results) | {"metric": heads[metric]}
                for guide in grid:
                    line[f"w = {guide}"] = cell(seeds, metric, f"guidance {guide}", "guidance")
                chosen = ", ".join(f"{g}{' (end of the grid)' if g.scale == largest else ''}" for g in choices)
                lines.append(line | {"chosen": chosen or "–"})
        return markdown(lines)

    def draw(self, folder: Path) -> dict[str, bool]:
        """Draws all figures with results; returns which it drew."""
        if not self:
            return dict.fromkeys(("samples", "generator", "probe"), False)
        with_generator = [r for seeds in self.rows.values() for r in seeds]
        return {
            "samples": self._draw_samples(folder / "samples.png"),
            "generator": generator_curves(with_generator, folder / "generator.png"),
            "probe": probe_against_gfd(with_generator, folder / "probe.png"),
        }

    def _draw_samples(self, path: Path) -> bool:
        """Draws the first images of every row, below real ones of the same classes."""
        sets = ("guided", "samples") if self.guided else ("samples",)
        shown = SHOWN if self.guided else 2 * SHOWN
        lines: dict[str, np.ndarray] = {}
        for r in pictured(self.results):
            if (stored := r.arrays("generation", "shown.npz")) is not None:
                lines[r.row.name] = np.concatenate([stored[split][:shown] for split in sets])
        if not lines:
            return False
        data = shared(self.results, "data")
        names = data.fact("classes") if data else []
        labels = [i % len(names) for _ in sets for i in range(shown)] if names else []  # as they are drawn
        titles = {shown * index: NAMES[split] for index, split in enumerate(sets)}
        real: dict[str, np.ndarray] = {}
        for of in by_data_set(self.results).values():
            if (data := shared(of, "data")) is not None:
                real |= _images_of(data.folder, labels, of_data(REAL, of[0], self.results))
        return figures.strips(real | lines, path, titles, [names[label] for label in labels])


def _images_of(data: Path, labels: Sequence[int], line: str) -> dict[str, np.ndarray]:
    """Images of `val` with these labels, by the name of their `line`; none if they are not here."""
    try:
        val, seen = open_split(data, "val"), Counter[int]()
        places = []
        for label in labels:
            places.append(np.flatnonzero(val.labels == label)[seen[label]])
            seen[label] += 1
        return {line: np.stack([val.images[place] for place in places])} if places else {}
    except (OSError, IndexError):  # results that were read from text have no images; a class may have few
        return {}
