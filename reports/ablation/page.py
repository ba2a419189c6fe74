"""The Markdown page of an ablation: our numbers beside the paper's, with figures and provenance."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from harness.evaluation.records import heading
from harness.experiments.claims import of_paper
from harness.experiments.requests import AblationRequest
from harness.experiments.study import Ablation
from harness.store.runs import Store
from reports import departures, figures
from reports.ablation import answer, curves, embeddings
from reports.ablation import figures as panels
from reports.ablation.differences import LEGEND, Differences
from reports.ablation.generation import Generation
from reports.ablation.information import Information
from reports.ablation.noise import Noise, draw_power, with_power
from reports.ablation.reconstruction import Reconstruction
from reports.ablation.rows import Rows
from reports.claims import table
from reports.claims.verdicts import Ruling, judge_study, summary
from reports.gates import Gate, gates, note
from reports.mixtures import changes, mixtures
from reports.pages import index
from reports.pages.rendering import preface, write_page
from reports.provenance import Provenance
from reports.results import (
    PICTURES,
    Result,
    images_note,
    load,
    made_from,
    pictured,
    rows_of,
    shared,
    trained_here,
    unfinished,
)
from reports.statistics.intervals import LEVEL
from reports.statistics.looks import level_of_look
from reports.tables import (
    MOST_COLUMNS,
    cell,
    head_cells,
    headers,
    markdown,
    notes,
    printed_only,
    seeds_note,
    statuses,
)

MAIN_PAPER = {"rfd": ("rfid", "paper rFID"), "gfd": ("gfid", "paper gFID")}  # of the table that the page begins with
DIFFERENCES = ("rfd", "psnr", "probe", "active_units")
DIFFERENCES_OF_GENERATION = ("gfd", "classifier_score")


def write(request: AblationRequest, store: Store, out: Path) -> str:
    """Writes the page and its figures below `out`; returns what the terminal shows: tables, the answer, the path."""
    page, name = Page(request, load(request.experiments(), store)), request.page
    path = write_page("ablation/page.md.j2", out / f"{name}.md", page=page, name=name, drawn=page.draw(out / name))
    index.write(out)
    answer, *others = (line.replace("**", "") for line in page.answer)
    return "\n\n".join(
        [
            *filter(None, [page.preface]),
            page.main_table(),
            "\n".join([page.seeds_note, *(f"- {line}" for line in others)]),
            f"{answer}\n{path}",
        ]
    )


@dataclass(frozen=True)
class Page:
    """Markdown for the template."""

    request: AblationRequest
    results: list[Result]

    @property
    def study(self) -> Ablation:
        return self.request.study

    @property
    def provenance(self) -> Provenance:
        """The provenance of the numbers."""
        return Provenance(self.results)

    @property
    def rows(self) -> dict[str, list[Result]]:
        return rows_of(self.results)

    @property
    def preface(self) -> str:
        return preface(self.request.scale.experiment.scale)

    @property
    def about_rows(self) -> Rows:
        """The part on what the rows are."""
        return Rows(self.request, self.results)

    @property
    def reconstruction(self) -> Reconstruction:
        """The part on reconstructed images."""
        return Reconstruction(self.request, self.results)

    @property
    def information(self) -> Information:
        """The part on the latents."""
        return Information(self.results)

    @property
    def notes(self) -> list[str]:
        """The study's notes on rows of the page."""
        return notes(self.study, self.rows)

    @property
    def seeds_note(self) -> str:
        return seeds_note(self.request.seeds)

    @property
    def generation(self) -> Generation:
        """The part on generated images."""
        return Generation(self.request, self.results)

    @cached_property
    def differences(self) -> Differences:
        """The differences between rows and their bases."""
        columns = [(metric, "val", "evaluation") for metric in DIFFERENCES]
        if self.generation:
            columns += [(metric, self.generation.main_set, "generation") for metric in DIFFERENCES_OF_GENERATION]
        return Differences(trained_here(self.results), columns)

    def claims_table(self) -> str:
        """The table of the paper's claims on the study with verdicts; empty if there are no claims."""
        return markdown(table.lines(self.rulings)) if self.rulings else ""

    @property
    def claims_heading(self) -> str:
        """The heading of the claims, which are the paper's if any of them names a place of it."""
        return "What the paper claims" if any(of_paper(c.source) for c in self.study.claims) else "Claims"

    @cached_property
    def rulings(self) -> list[Ruling]:
        """The rulings on the study's claims."""
        return judge_study(self.request, self.results)

    @property
    def has_effects_of_paper(self) -> bool:
        """Whether curves of power have lines at the paper's effects."""
        return any(ruling.alone.published for of in with_power(self.rulings).values() for ruling in of)

    def claims_summary(self) -> str:
        """How many claims are decided, and by which looks."""
        planned = self.request.looks
        looks = (
            f" The study grows by planned looks at {', '.join(map(str, planned))} seeds. Each look has a level of "
            f"{level_of_look(planned):.3f}, so that all together err in {LEVEL:.0%}. What a look decides stands."
            if planned
            else ""
        )
        return summary(self.rulings) + looks

    @property
    def answer(self) -> list[str]:
        """The answer in a few sentences."""
        split = self.generation.main_set if self.generation else ""
        return answer.sentences(self.rulings, self.gates, self.results, split)

    def main_table(self) -> str:
        """The table of at most seven columns: distances and PSNR, with the paper's distances, and the status.

        Where nothing is generated, or the paper has no numbers, KL and information take the place.
        """
        columns = [("rfd", "val", "evaluation"), ("psnr", "val", "evaluation")]
        columns += [("gfd", self.generation.main_set, "generation")] if self.generation else []
        paper, lines = self.request.printed, []
        for name, seeds in self.rows.items():
            line, of_paper = head_cells(name, seeds, self.results), paper.get(seeds[0].row.published or "", {})
            for metric, *at in columns:
                line[headers([metric], self.results, *at)[metric]] = cell(seeds, metric, *at)
                if metric in MAIN_PAPER and paper:
                    column, head = MAIN_PAPER[metric]
                    line[head] = of_paper.get(column) or "–"
            if len(line) < MOST_COLUMNS - 1:
                line[heading("kl")] = cell(seeds, "kl", "val", seeds[0].latents_stage)
            lines.append(line | {"status": statuses(seeds)})
        return markdown(lines + printed_only(self.request, dict(MAIN_PAPER.values())))

    @property
    def gates_note(self) -> str:
        return note(self.gates, bool(self.departures()))

    @property
    def legends(self) -> dict[str, str]:
        """The legends below the tables of differences and claims."""
        return {"differences": LEGEND, "claims": table.EXPLAINED}

    @cached_property
    def noise(self) -> Noise:
        """What the seeds do to the page's main numbers."""
        return Noise(
            trained_here(self.results), [column for column in self.differences.metrics if column[0] != "active_units"]
        )

    @property
    def images_note(self) -> str:
        """N of the numbers of the main table."""
        return images_note(self.results, self.generation.main_set if self.generation else "")

    @cached_property
    def gates(self) -> list[Gate]:
        """The conditions on which the page can tell its rows apart."""
        return gates(self.results)

    def departures(self) -> str:
        """The settings that differ from the paper's, of a row that is trained here; empty without published numbers."""
        rows = [r.row for r in trained_here(self.results)]
        return departures.section(self.request, rows) if self.request.printed else ""

    @property
    def warnings(self) -> list[str]:
        """The warnings at the top of the page."""
        return changes(self.request) + mixtures(self.results) + unfinished(self.results)

    @property
    def not_pictured(self) -> str:
        """A sentence on finished rows without images in the store, as those that came as text; empty if there are none.

        Where no row is finished it says so.
        """
        if not any(r.done("evaluation") for r in self.results):
            return "No row is finished."
        finished = [r for r in pictured(self.results) if r.done("evaluation")]
        rows = [r.row.name for r in finished if not r.has("evaluation", PICTURES)]
        names = "these rows" if len(rows) == len(finished) else ", ".join(rows)
        return f"The store has numbers, but no images of {names}." if rows else ""

    @property
    def pictured_seed(self) -> int:
        """The seed of the pictures."""
        return pictured(self.results)[0].experiment.seed

    @property
    def lines_note(self) -> str:
        """Sentences on the lines in curves."""
        seeds = " Lines are means over seeds, with the range of the seeds." if self.request.seeds > 1 else ""
        return (
            f"{seeds} Rows that share a training share a line. Where lines lie on each other, a further panel shows "
            "their differences from one of them, seed by seed."
        )

    def draw(self, folder: Path) -> dict[str, bool]:
        """Draws all figures with results, unless they are drawn already; returns which there are."""
        return figures.kept(folder, made_from(self.results), lambda: self._draw(folder))

    def _draw(self, folder: Path) -> dict[str, bool]:
        data = shared(self.results, "data")
        classes = data.fact("classes") if data else []
        return {
            "curves": curves.curves(trained_here(self.results), folder / "curves.png"),
            "reconstructions": panels.reconstructions(self.results, folder / "reconstructions.png"),
            "masks": panels.masks(self.results, folder / "masks.png"),
            "kl": panels.kl_maps(self.results, folder / "kl.png"),
            "dropped": panels.dropped_tokens(self.results, folder / "dropped.png"),
            "interpolations": panels.interpolations(self.results, folder / "interpolations.png"),
            "latents": embeddings.latents(self.results, classes, folder / "latents.png", embeddings.pca),
            "tsne": embeddings.latents(self.results, classes, folder / "tsne.png", embeddings.tsne),
            "umap": self.information.has_umap
            and embeddings.latents(self.results, classes, folder / "umap.png", embeddings.umap),
            "power": draw_power(self.rulings, folder / "power.png"),
            **self.generation.draw(folder),
        }
