"""The part of a page that is about generated images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness import plugins
from harness.study import Ablation, published
from reports import figures
from reports.results import Result, rows_of, shared
from reports.tables import cell, header, markdown, statuses

METRICS = ("gfd", "classifier_score", "gkid", "precision", "recall")
PAPER = {"gfd": ("gfid", "paper gFID"), "classifier_score": ("is", "paper IS")}
COMPARED = {"real": "images of `val`", "mean image": "mean image", "noise": "pixel noise"}
NAMES = {"samples": "without guidance", "guided": "with guidance"}
AGAINST = (("probe", "val", "evaluation"), ("gfd", "samples", "generation"))
SHOWN = 8  # images of every set


@dataclass(frozen=True)
class Generation:
    """What the template asks for of the rows that have a generator, each a piece of Markdown."""

    study: Ablation
    results: Sequence[Result]

    def __bool__(self) -> bool:
        return any(r.experiment.generator.on for r in self.results)

    @property
    def rows(self) -> dict[str, list[Result]]:
        """The rows, by name."""
        return rows_of([r for r in self.results if r.experiment.generator.on])

    @property
    def first(self) -> Result:
        """Any of the results: what is asked of it holds for all."""
        return next(r for r in self.results if r.experiment.generator.on)

    @property
    def guided(self) -> bool:
        """Whether the rows are guided."""
        return self.first.experiment.guidance.on

    @property
    def judged(self) -> str:
        """The set that stands beside the paper's numbers."""
        return "guided" if self.guided else "samples"

    @property
    def judged_as(self) -> str:
        """The same in words."""
        return NAMES[self.judged]

    def table(self) -> str:
        """Generation, ours beside the paper's."""
        paper = published(self.study.published_table)
        lines = []
        for name, seeds in self.rows.items():
            line = {"row": name}
            printed = paper.get(seeds[0].row.published or "", {})
            for metric in METRICS:
                line[header(metric)] = cell(seeds, metric, self.judged, "generation")
                if metric in PAPER:
                    column, title = PAPER[metric]
                    line[title] = printed.get(column) or "–"
            lines.append(line | {"status": statuses(seeds)})
        return markdown(lines + self._compared())

    def table_without_guidance(self) -> str:
        """The same without guidance, and what the decoder makes of latents that no generator made."""
        lines = []
        for name, seeds in self.rows.items():
            line = {"row": name} | {header(metric): cell(seeds, metric, "samples", "generation") for metric in METRICS}
            lines.append(line | {"gFD of the prior": cell(seeds, "gfd", "prior", "generation")})
        return markdown(lines)

    def _compared(self) -> list[dict[str, str]]:
        """Lines for sets of images that no row made."""
        run = shared(list(self.results), "reference")
        lines: dict[str, dict[str, str]] = {}
        for r in run.records() if run else []:
            digits = plugins.load("harness.metrics", r.metric, "metric").digits
            line = lines.setdefault(r.split, {"row": f"*{COMPARED[r.split]} (N = {r.n})*"})
            line[header(r.metric)] = f"{r.value:.{digits}f}"
        return list(lines.values())

    def guidance_note(self) -> str:
        """How the scale of guidance was chosen, here and in the paper."""
        guidance = self.first.experiment.guidance
        interval = f"for t in [{guidance.low:g}, {guidance.high:g}] (t = 0 is the data)"
        if guidance.searched:
            grid = ", ".join(f"{w:g}" for w in guidance.scales)
            return (
                f"Guidance {interval}: of the scales {grid} the one of least gFD over {guidance.search_images} samples."
            )
        note = f"Guidance {guidance.scales[0]:g} {interval}, the same for every row."
        if any(row.get("cfg") == "best" for row in published(self.study.published_table).values()):
            note += " The paper's rows stand each at its own best scale, found on a grid: in this the two do not match."
            note += " The study `guidance` searches ours."
        return note

    @property
    def searched(self) -> bool:
        """Whether there is a grid to show."""
        return self.guided and self.first.experiment.guidance.searched

    def guidance_table(self) -> str:
        """gFD and classifier score by the scale of guidance; the chosen scale."""
        lines, grid = [], sorted(self.first.experiment.guidance.scales)
        for name, seeds in self.rows.items():
            scales = [run.result()["facts"]["scale"] for r in seeds if (run := r.done("guidance"))]
            for metric in ("gfd", "classifier_score"):
                line = {"row": name, "metric": header(metric)}
                for w in grid:
                    line[f"w = {w:g}"] = cell(seeds, metric, f"guidance {w:g}", "guidance")
                chosen = ", ".join(f"{w:g}{' (end of the grid)' if w == grid[-1] else ''}" for w in scales)
                lines.append(line | {"chosen": chosen or "–"})
        return markdown(lines)

    def rank_correlation(self) -> str:
        """Spearman's rank correlation between probe and gFD without guidance, over the means of the rows."""
        from scipy.stats import spearmanr

        means = [
            [np.mean([v.value for r in seeds if (v := r.value(*what)) is not None] or [np.nan]) for what in AGAINST]
            for seeds in self.rows.values()
        ]
        pairs = np.array([pair for pair in means if np.isfinite(pair).all()])
        if len(pairs) < 3:
            return "Fewer than three rows are finished."
        if (pairs == pairs[0]).all(0).any():
            return "Rows do not differ."
        rank = spearmanr(*pairs.T).statistic
        return f"Spearman's rank correlation over {len(pairs)} rows: {rank:+.2f} (in the paper's Figure 6a negative)."

    def draw(self, folder: Path) -> dict[str, bool]:
        """Draws every figure that there are results for."""
        if not self:
            return dict.fromkeys(("samples", "generator", "probe"), False)
        with_generator = [r for seeds in self.rows.values() for r in seeds]
        return {
            "samples": self._draw_samples(folder / "samples.png"),
            "generator": figures.generator_curves(with_generator, folder / "generator.png"),
            "probe": figures.probe_against_gfd(with_generator, folder / "probe.png"),
        }

    def _draw_samples(self, path: Path) -> bool:
        lines: dict[str, np.ndarray] = {}
        sets = ("guided", "samples") if self.guided else ("samples",)
        shown = SHOWN if self.guided else 2 * SHOWN
        for name, seeds in self.rows.items():
            if (run := seeds[0].done("generation")) is not None:
                stored = np.load(run.file("shown.npz"))
                lines[name] = np.concatenate([stored[split][:shown] for split in sets])
        return figures.strips(lines, path, {shown * place: NAMES[split] for place, split in enumerate(sets)})
