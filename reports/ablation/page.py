"""The Markdown page of an ablation: our numbers beside the paper's, with figures and provenance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from harness.data.splits import SPLITS
from harness.evaluation import collapse, validation
from harness.evaluation.reconstructed import DROPPED_IMAGES
from harness.evaluation.records import heading
from harness.experiments.claims import of_paper
from harness.experiments.fields import differences
from harness.experiments.requests import AblationRequest
from harness.experiments.study import Ablation
from harness.networks import flops
from harness.store.records import Record
from harness.store.runs import Store
from models.variants import VARIANTS
from reports import departures, figures, foils
from reports.ablation import answer, curves, embeddings
from reports.ablation import figures as panels
from reports.ablation.differences import LEGEND, Differences
from reports.ablation.generation import Generation
from reports.ablation.noise import Noise, draw_power
from reports.claims import table
from reports.claims.verdicts import Ruling, judge_study, summary
from reports.gates import Gate, gates, note
from reports.pages import index
from reports.pages.rendering import preface, write_page
from reports.provenance import Provenance
from reports.results import (
    PICTURES,
    Result,
    by_data_set,
    changes,
    images_note,
    load,
    made_from,
    mixtures,
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
    STATUS_NOTE,
    bits,
    cell,
    cells_of_plugins,
    head_cells,
    headers,
    markdown,
    notes,
    printed_only,
    seeds_note,
    statuses,
)

QUALITY = ("kid", "rfd", "rfd_infinity", "psnr", "ssim")  # with few images the kernel distance comes first
INFORMATION = (
    *("kl", "linear_gaussian_kl", "kl_per_token", "kl_per_dimension", "mutual_information", "gaussian_rate"),
    "active_units",
)
LATENTS = ("probe", "probe_mean", "knn", "effective_rank", "isotropy", "shuffled_error", "dropped_token")
TRANSFERRED = ("kid", "rfd", "psnr", "ssim", "kl", "active_units", "probe", "shuffled_error")
CODES = ("code_use", "code_perplexity")
MAIN_PAPER = {"rfd": ("rfid", "paper rFID"), "gfd": ("gfid", "paper gFID")}  # of the table that the page begins with
PAPER = {"rfd": "rfid", "psnr": "psnr", "ssim": "ssim"}
DIFFERENCES = ("rfd", "psnr", "probe", "active_units")
DIFFERENCES_OF_GENERATION = ("gfd", "classifier_score")
SHOWN = 5  # reconstructions of each validation split in the figure


def name_of_paper(metric: str) -> str:
    """The head of the column with the paper's numbers for a metric of ours."""
    return {"rfid": "paper rFID"}.get(PAPER[metric], f"paper {PAPER[metric].upper()}")


def _sources(*numbers: Record) -> str:
    """N and the protocols of numbers, in their order; runs of earlier code have no protocol."""
    ids = [f"`{r.protocol_id}`" for r in numbers if r.protocol_id]
    return ", ".join([f"N = {numbers[0].n}", *ids]) + "."


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
    def additions(self) -> str:
        """Sentences on the rows whose names begin with +: to which row of the page each adds a part; empty without."""
        rows = [row for row in self.study.rows if row.name.startswith("+") and row.base and row.name in self.rows]
        if not rows:
            return ""
        variant = f"`{rows[-1].name}` is the variant `{rows[-1].variant}`."
        told = "; ".join(f"`{row.name}` to `{row.base}`" for row in rows if row.base in self.rows)
        if not told:
            return variant
        return (
            f"A row whose name begins with + adds one part to another row and keeps all of its parts: {told}. {variant}"
        )

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
        """Whether the paper has numbers for any claim."""
        return any(ruling.alone.published for ruling in self.rulings)

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

    def recipes_table(self) -> str:
        """The table of the published trainings that rows of peers do not follow; empty without such rows."""
        recipes = {name: VARIANTS[seeds[0].row.variant].recipe for name, seeds in self.rows.items()}
        return markdown([{"row": name, "published with": recipe} for name, recipe in recipes.items() if recipe])

    def foils_table(self) -> str:
        """The table of the rows beside principal components."""
        return foils.comparison(self.results)

    @property
    def warnings(self) -> list[str]:
        """The warnings at the top of the page."""
        return changes(self.request) + mixtures(self.results) + unfinished(self.results)

    def rows_table(self) -> str:
        """The table of the rows: variant, base and differences from the base."""
        lines = []
        experiments = {name: seeds[0].experiment for name, seeds in self.rows.items()}
        for name, seeds in self.rows.items():
            row = seeds[0].row
            change = "no base"
            if row.base is not None:
                base = self.request.experiment(self.study.row(row.base))
                changed = differences(base, experiments[name])
                change = ", ".join(f"`{path}`: {a} → {b}" for path, (a, b) in changed.items())
            about = VARIANTS[row.variant].about
            lines.append(
                {
                    "row": name,
                    "variant": f"`{row.variant}`",
                    "about": about,
                    "base": row.base or "",
                    "change": change,
                    "runs": self._run_keys(seeds),
                }
            )
        return markdown(lines)

    def budget_table(self) -> str:
        """The table of what every row has to work with: latents, weights, floating-point operations, steps."""
        lines = []
        for name, seeds in self.rows.items():
            e = seeds[0].experiment
            line = {"row": name, "latents": f"{e.latents}", "numbers": f"{e.latents.numbers}", "bits": bits(e)}
            line["weights (millions)"] = f"{e.tokenizer_parameters / 1e6:.3g}" if e.tokenizer_parameters else "–"
            if not e.tokenizer.outside.on:
                forward = flops.of_encoder(e) + flops.of_decoder(e)
                line["GFLOPs of an image"] = f"{forward / 1e9:.3g}"
                line["training: steps x images"] = f"{e.training.steps} x {e.training.batch_images}"
                line["training: TFLOPs"] = f"{flops.tokenizer_training(e) / 1e12:.3g}"
            if e.generator.on:
                g = e.generator.training
                line["generator: steps x images"] = f"{g.steps} x {g.batch_images}"
                line["generator: TFLOPs"] = f"{flops.generator_training(e) / 1e12:.3g}"
            lines.append(line)
        return markdown(lines)

    def _run_keys(self, seeds: list[Result]) -> str:
        """The keys of the runs for `harness.generate` and `harness.reconstruct`."""
        stage = "generation" if seeds[0].experiment.generator.on else "evaluation"
        return ", ".join(f"`{r.runs[stage].key}`" for r in seeds)

    def quality_table(self, split: str) -> str:
        """The table of reconstruction, with the paper's numbers if it has such a table."""
        paper, heads = self.request.printed, headers(QUALITY, self.results, split)
        lines = []
        for name, seeds in self.rows.items():
            line = head_cells(name, seeds, self.results)
            of_paper = paper.get(seeds[0].row.published or "", {})
            for metric in QUALITY:
                line[heads[metric]] = cell(seeds, metric, split)
                if paper and metric in PAPER and split == "val":
                    line[name_of_paper(metric)] = of_paper.get(PAPER[metric]) or "–"
            line |= cells_of_plugins("reconstruction", seeds, self.results, split)
            line["status"] = statuses(seeds)
            lines.append(line)
        columns = {PAPER[m]: name_of_paper(m) for m in QUALITY if m in PAPER} if split == "val" else {}
        return markdown(lines + foils.lines(self.results, heads, split) + printed_only(self.request, columns))

    def transfer_table(self) -> str:
        """The table of the tokenizers on another data set; empty if no row has one."""
        lines = []
        for name, seeds in self.rows.items():
            if (other := seeds[0].experiment.evaluation.transfer) is not None:
                line = {"row": name, "images": f"`{other}`"}
                for metric, head in headers(TRANSFERRED, self.results, "val", "transfer").items():
                    line[head] = cell(seeds, metric, "val", "transfer")
                lines.append(line)
        return markdown(lines) if lines else ""

    def information_table(self) -> str:
        """The table of information in the latents, with the KL of a linear-Gaussian model as a reference."""
        return self._table(INFORMATION, "information")

    def latents_table(self) -> str:
        """The table of classifiers on the latents, of their spread, and of the decoder's dependence on them."""
        coded = any(r.experiment.tokenizer.codes.on or r.experiment.tokenizer.soft_codes.on for r in self.results)
        return self._table(LATENTS + CODES if coded else LATENTS, "latents")

    def _table(self, metrics: Sequence[str], table: str) -> str:
        lines = []
        for name, seeds in self.rows.items():
            line = head_cells(name, seeds, self.results)
            line |= {heading(metric): cell(seeds, metric, "val") for metric in metrics}
            line |= cells_of_plugins(table, seeds, self.results, "val")
            line["status"] = statuses(seeds)
            lines.append(line)
        return markdown(lines)

    def finetuning_table(self) -> str:
        """The table of the tokenizers before and after decoder fine-tuning, on val."""
        lines, heads = [], headers(("rfd", "psnr"), self.results, stage="snapshots")
        for name, seeds in self.rows.items():
            if seeds[0].experiment.finetuning.on:
                line = head_cells(name, seeds, self.results)
                for metric in heads:
                    line[f"{heads[metric]} before"] = cell(seeds, metric, "val", "snapshots")
                    line["after" if metric == "rfd" else "after "] = cell(seeds, metric, "val")
                lines.append(line)
        return markdown(lines) if lines else ""

    def difficulty(self) -> list[str]:
        """Sentences on how hard every data set is, one per split and one on semantic masks."""
        by_data = by_data_set(self.results).items()
        return [f"On `{data}`: {line}" if data else line for data, of in by_data for line in self._difficulty(of)]

    def _difficulty(self, results: Sequence[Result]) -> list[str]:
        run = shared(results, "difficulty")
        if run is None:
            return []
        values: dict[str, dict[str, Record]] = {}
        for r in run.records():
            values.setdefault(r.split, {})[r.metric] = r
        lines = []
        for split, v in values.items():
            if {"majority", "probe_teacher", "probe_pixels"} <= v.keys():
                guessed, pixels, teacher = v["majority"], v["probe_pixels"], v["probe_teacher"]
                lines.append(
                    f"`{split}`: a linear probe reaches {teacher.value:.1f} % on the teacher's class token and "
                    f"{pixels.value:.1f} % on principal components of the pixels; guessing the largest class reaches "
                    f"{guessed.value:.1f} %. {_sources(teacher, pixels, guessed)}"
                )
        v = values.get("train", {})
        if {"semantic_precision", "random_precision"} <= v.keys():
            semantic, random = v["semantic_precision"], v["random_precision"]
            lines.append(
                f"Semantic masks that hide as many patches as the object covers hit the object with a precision of "
                f"{semantic.value:.0f} %; random masks would reach {random.value:.0f} %. {_sources(semantic, random)}"
            )
        return lines

    @property
    def validation_images(self) -> int:
        """The number of images for each point of a curve."""
        return min(validation.Validation.IMAGES, self.results[0].experiment.data.val_images)

    @property
    def most_information(self) -> float:
        """The largest mutual information that its estimate from `val` can have, in nats."""
        return math.log(self.results[0].experiment.data.val_images)

    @property
    def has_unseen(self) -> bool:
        """Whether the data set has a split of unseen objects."""
        run = shared(self.results, "data")
        return run is not None and "val_unseen" in run.fact("images")

    @property
    def dropped_images(self) -> int:
        """The number of images for the error without a token."""
        return min(DROPPED_IMAGES, self.results[0].experiment.data.val_images)

    @property
    def embedded_images(self) -> int:
        """The number of images for t-SNE and UMAP."""
        return min(embeddings.EMBEDDED_IMAGES, self.results[0].experiment.data.val_images)

    @property
    def perplexity(self) -> str:
        """The perplexity of t-SNE."""
        return f"{embeddings.perplexity(self.embedded_images):.3g}"

    @property
    def has_umap(self) -> bool:
        """Whether the optional package for UMAP is installed."""
        return find_spec("umap") is not None

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

    def status_rules(self) -> str:
        return collapse.RULES

    @property
    def status_note(self) -> str:
        """What the status counts and what active units do; empty if no row has a KL."""
        return STATUS_NOTE if any(r.experiment.tokenizer.gaussian.on for r in self.results) else ""

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
            "reconstructions": self._draw_reconstructions(folder / "reconstructions.png"),
            "masks": self._draw_masks(folder / "masks.png"),
            "kl": panels.kl_maps(self.results, folder / "kl.png"),
            "dropped": panels.dropped_tokens(self.results, folder / "dropped.png"),
            "interpolations": panels.interpolations(self.results, folder / "interpolations.png"),
            "latents": embeddings.latents(self.results, classes, folder / "latents.png", embeddings.pca),
            "tsne": embeddings.latents(self.results, classes, folder / "tsne.png", embeddings.tsne),
            "umap": self.has_umap and embeddings.latents(self.results, classes, folder / "umap.png", embeddings.umap),
            "power": draw_power(self.rulings, folder / "power.png"),
            **self.generation.draw(folder),
        }

    def _draw_reconstructions(self, path: Path) -> bool:
        lines: dict[str, np.ndarray] = {}
        titles: dict[int, str] = {}
        for r in pictured(self.results):
            if (stored := r.arrays("evaluation", "reconstructions.npz")) is not None:
                splits = [split for split in SPLITS if split in stored]
                titles = {SHOWN * index: split for index, split in enumerate(splits)}
                originals = [stored[f"{split} originals"][:SHOWN] for split in splits]
                lines.setdefault(panels.of_data("original", r, self.results), np.concatenate(originals))
                lines[r.row.name] = np.concatenate([stored[split][:SHOWN] for split in splits])
        return figures.strips(lines, path, titles)

    def _draw_masks(self, path: Path) -> bool:
        lines: dict[str, np.ndarray] = {}
        kinds: set[str] = set()
        for r in pictured(self.results):
            masking = r.experiment.tokenizer.masking
            kind = {0.0: "random", 1.0: "semantic"}.get(masking.semantic_share, "random and semantic")
            stored = r.arrays("tokenizer", "masks.npz") if masking.on else None
            if stored is not None and kind not in kinds:
                kinds.add(kind)
                lines.setdefault(panels.of_data("image", r, self.results), stored["images"])
                lines[f"{kind} ({r.row.name})"] = panels.with_hidden_patches(stored["images"], stored["masks"])
        return figures.strips(lines, path)
