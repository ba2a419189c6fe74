"""The Markdown page of an ablation: the table with ours beside the paper's, and everything that it rests on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness import collapse
from harness.data import SPLITS
from harness.experiment import differences
from harness.store import Store
from harness.study import Ablation, AskedAblation, published
from models.variants import VARIANTS
from reports import figures
from reports.generation import Generation
from reports.provenance import Provenance
from reports.results import Result, load, mixtures, rows_of, shared
from reports.tables import cell, difference, header, markdown, rendered, seeds_note, statuses

QUALITY = ("rfd", "kid", "psnr", "ssim")
LATENTS = ("probe", "kl", "linear_gaussian_kl", "kl_per_dimension", "active_units", "shuffled_error")
PAPER = {"rfd": "rfid", "psnr": "psnr", "ssim": "ssim"}
DIFFERENCES = ("rfd", "psnr", "probe", "active_units")
DIFFERENCES_OF_GENERATION = ("gfd", "classifier_score")
SHOWN = 5  # reconstructions of each validation split


def write(asked: AskedAblation, store: Store, out: Path) -> str:
    """Writes the page and its figures below `out`; returns what a terminal shows of it: tables and the path."""
    page, name = Page(asked, load(asked.experiments(), store)), asked.page
    path = rendered("ablation.md.j2", out / f"{name}.md", page=page, name=name, drawn=page.draw(out / name))
    return "\n\n".join(
        [
            page.quality_table("val"),
            *([page.generation.table()] if page.generation else []),
            page.latents_table(),
            *page.difficulty(),
            f"{page.seeds_note} {path}",
        ]
    )


@dataclass(frozen=True)
class Page:
    """What the template asks for, each a piece of Markdown."""

    asked: AskedAblation
    results: list[Result]

    @property
    def study(self) -> Ablation:
        return self.asked.study

    @property
    def provenance(self) -> Provenance:
        """What all numbers rest on."""
        return Provenance(self.results)

    @property
    def rows(self) -> dict[str, list[Result]]:
        return rows_of(self.results)

    @property
    def seeds_note(self) -> str:
        return seeds_note(self.asked.seeds)

    @property
    def generation(self) -> Generation:
        """What there is to say of generated images."""
        return Generation(self.study, self.results)

    def differences_table(self) -> str:
        """Row minus base, paired by seed: what the one field between them changes."""
        lines = []
        for name, seeds in self.rows.items():
            base = self.rows.get(seeds[0].row.base or "")
            if base is None:
                continue
            line = {"row": name, "minus": base[0].row.name}
            for metric in DIFFERENCES:
                line[header(metric)] = difference(seeds, base, metric, "val", "evaluation")
            for metric in DIFFERENCES_OF_GENERATION if self.generation else ():
                line[header(metric)] = difference(seeds, base, metric, self.generation.judged, "generation")
            lines.append(line)
        return markdown(lines) if lines else ""

    @property
    def warnings(self) -> list[str]:
        """What stands above the table."""
        found = mixtures(self.results)
        found += [f"{r.row.name} (seed {r.experiment.seed}): {r.state}." for r in self.results if r.state != "done"]
        return found

    def rows_table(self) -> str:
        """What each row is and in what it differs from its base."""
        lines = []
        experiments = {name: seeds[0].experiment for name, seeds in self.rows.items()}
        for name, seeds in self.rows.items():
            row = seeds[0].row
            change = "stands alone"
            if row.base is not None:
                base = self.asked.experiment(self.study.row(row.base))
                changed = differences(base, experiments[name])
                change = ", ".join(f"`{path}`: {a} → {b}" for path, (a, b) in changed.items())
            about = VARIANTS[row.variant].about
            lines.append(
                {
                    "row": name,
                    "variant": f"`{row.variant}`",
                    "what": about,
                    "base": row.base or "",
                    "change": change,
                    "runs": self._named(seeds),
                }
            )
        return markdown(lines)

    def _named(self, seeds: list[Result]) -> str:
        """The runs that `harness.generate` and `harness.reconstruct` take."""
        stage = "generation" if seeds[0].experiment.generator.on else "evaluation"
        return ", ".join(f"`{r.runs[stage].key}`" for r in seeds)

    def quality_table(self, split: str) -> str:
        """Reconstruction, ours beside the paper's."""
        paper = published(self.study.published_table)
        lines = []
        for name, seeds in self.rows.items():
            line = {"row": name}
            printed = paper.get(seeds[0].row.published or "", {})
            for metric in QUALITY:
                line[header(metric)] = cell(seeds, metric, split)
                if metric in PAPER and split == "val":
                    column = {"rfid": "paper rFID"}.get(PAPER[metric], f"paper {PAPER[metric].upper()}")
                    line[column] = printed.get(PAPER[metric]) or "–"
            line["status"] = statuses(seeds)
            lines.append(line)
        return markdown(lines)

    def latents_table(self) -> str:
        """What the latents hold, and the KL that a linear-Gaussian model would spend."""
        lines = []
        for name, seeds in self.rows.items():
            line = {"row": name} | {header(metric): cell(seeds, metric, "val") for metric in LATENTS}
            line["status"] = statuses(seeds)
            lines.append(line)
        return markdown(lines)

    def finetuning_table(self) -> str:
        """The same tokenizers before and after decoder fine-tuning, on val."""
        lines = []
        for name, seeds in self.rows.items():
            if seeds[0].experiment.finetuning.on:
                line = {"row": name}
                for metric in ("rfd", "psnr"):
                    line[f"{header(metric)} before"] = cell(seeds, metric, "val", "snapshots")
                    line["after" if metric == "rfd" else "after "] = cell(seeds, metric, "val")
                lines.append(line)
        return markdown(lines)

    def difficulty(self) -> list[str]:
        """How hard the data set is, one line a split."""
        run = shared(self.results, "difficulty")
        if run is None:
            return []
        values: dict[str, dict[str, float]] = {}
        for r in run.records():
            values.setdefault(r.split, {})[r.metric] = r.value
        lines = [
            f"`{split}`: a linear probe reads {v['probe_teacher']:.1f} % off the teacher's class token, "
            f"{v['probe_pixels']:.1f} % off principal components of the pixels; the commonest class is "
            f"{v['majority']:.1f} %."
            for split, v in values.items()
            if "majority" in v
        ]
        if "train" in values:
            v = values["train"]
            lines.append(
                f"Semantic masks, hiding as many patches as the object covers, hit the object with a precision of "
                f"{v['semantic_precision']:.0f} %; random ones would with {v['random_precision']:.0f} %."
            )
        return lines

    @property
    def validation_images(self) -> int:
        """Images behind each point of a curve."""
        return min(collapse.Validation.IMAGES, self.results[0].experiment.data.val_images)

    @property
    def has_unseen(self) -> bool:
        """Whether the data set has a split of unseen objects."""
        run = shared(self.results, "data")
        return run is not None and "val_unseen" in run.result()["facts"]["images"]

    def status_rules(self) -> str:
        return collapse.RULES

    def draw(self, folder: Path) -> dict[str, bool]:
        """Draws every figure that there are results for."""
        data = shared(self.results, "data")
        classes = data.result()["facts"]["classes"] if data else []
        return {
            "curves": figures.curves(self.results, folder / "curves.png"),
            "reconstructions": self._draw_reconstructions(folder / "reconstructions.png"),
            "masks": self._draw_masks(folder / "masks.png"),
            "latents": figures.latents(self.results, classes, folder / "latents.png"),
            **self.generation.draw(folder),
        }

    def _draw_reconstructions(self, path: Path) -> bool:
        lines: dict[str, np.ndarray] = {}
        titles: dict[int, str] = {}
        for name, seeds in self.rows.items():
            if (run := seeds[0].done("evaluation")) is not None:
                stored = np.load(run.file("reconstructions.npz"))
                splits = [split for split in SPLITS if split in stored.files]
                titles = {SHOWN * place: split for place, split in enumerate(splits)}
                originals = [stored[f"{split} originals"][:SHOWN] for split in splits]
                lines.setdefault("original", np.concatenate(originals))
                lines[name] = np.concatenate([stored[split][:SHOWN] for split in splits])
        return figures.strips(lines, path, titles)

    def _draw_masks(self, path: Path) -> bool:
        lines: dict[str, np.ndarray] = {}
        kinds: set[str] = set()
        for name, seeds in self.rows.items():
            masking = seeds[0].experiment.tokenizer.masking
            kind = {0.0: "random", 1.0: "semantic"}.get(masking.semantic_share, "random and semantic")
            run = seeds[0].done("tokenizer")
            if masking.on and run is not None and kind not in kinds:
                kinds.add(kind)
                stored = np.load(run.file("masks.npz"))
                lines.setdefault("image", stored["images"])
                lines[f"{kind}\n({name})"] = figures.hidden(stored["images"], stored["masks"])
        return figures.strips(lines, path)
