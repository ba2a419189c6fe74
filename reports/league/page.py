"""The league table: reconstruction, latents, generation and cost of every tokenizer in one line."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import NamedTuple

import pandas as pd

from harness.evaluation.records import heading, protocol_in, text_of, title
from harness.experiments.requests import AblationRequest
from harness.networks import flops
from harness.store.records import Record
from harness.system.files import write_text
from harness.system.texts import and_more, plain_markdown
from reports.ablation import answer
from reports.gates import gates
from reports.mixtures import changes, mixtures
from reports.pages import index, site
from reports.pages.rendering import preface, write_page
from reports.provenance import Provenance
from reports.results import Result, data_sets, images_note, protocol_of, rows_of, unfinished
from reports.tables import MOST_COLUMNS, bits, cell, headers, markdown, notes, seeds_note

RECONSTRUCTION = ("rfd", "psnr", "ssim", "probe")
GENERATION = ("gfd", "classifier_score")
NAME = "tokenizer"  # the head of the first column
SPEEDS = ("encoded images/s", "decoded images/s")
MEMORY = "peak MiB"
NAMED = 2  # rows in a sentence


class Speed(NamedTuple):
    """Images per second of encoder and decoder, one number for every round, and the peak of memory in MiB."""

    encoded: Sequence[float]
    decoded: Sequence[float]
    peak: float


class Pair(NamedTuple):
    """Images reconstructed elsewhere: their numbers, and whether the rows are measured on the same originals."""

    name: str
    numbers: Sequence[Record]
    same: bool

    @property
    def row(self) -> str:
        return f"{self.name} (images)"


@dataclass(frozen=True)
class Page:
    """Markdown for the template. `how` says how speeds were measured, `command` makes the page again."""

    request: AblationRequest
    results: Sequence[Result]
    speeds: Mapping[str, Speed]
    how: str
    command: str
    pairs: Sequence[Pair] = field(default=())

    @property
    def scale(self) -> str:
        return self.request.scale.experiment.scale

    @property
    def preface(self) -> str:
        return preface(self.scale)

    @property
    def provenance(self) -> Provenance:
        """The provenance of the numbers."""
        return Provenance(self.results)

    @property
    def notes(self) -> list[str]:
        """The study's notes on rows of the page."""
        return notes(self.request.study, rows_of(self.results))

    @property
    def seeds_note(self) -> str:
        return seeds_note(self.request.seeds)

    @property
    def warnings(self) -> list[str]:
        """The warnings at the top of the page."""
        return changes(self.request) + mixtures(self.results) + unfinished(self.results)

    @property
    def images_note(self) -> str:
        """N of the numbers of the table."""
        return images_note(self.results, self.main_set)

    @property
    def main_set(self) -> str:
        """The set of generated images: with guidance if there is any."""
        return "guided" if self.results[0].experiment.guidance.on else "samples"

    @property
    def answer(self) -> list[str]:
        """The best rows, what the gates that fail leave unsaid of them, and whether they have equal room."""
        found = answer.sentences([], gates(self.results), self.results, self.main_set)
        return [*found, *filter(None, [self.unequal])]

    @property
    def unequal(self) -> str:
        """Sentences on the room that tokenizers have for an image; empty if all have the same."""
        experiments = {name: seeds[0].experiment for name, seeds in rows_of(self.results).items()}
        of_numbers = {name: float(e.latents.numbers) for name, e in experiments.items()}
        of_bits = {name: e.bits for name, e in experiments.items() if e.bits is not None}
        ranges = [_range(of_numbers, "numbers"), _range(of_bits, "bits of codes")]
        if not any(ranges):
            return ""
        return (
            f"These tokenizers have unequal room for an image: {' and '.join(filter(None, ranges))}. With more room "
            "reconstruction is easier. The order of this table does not correct for that."
        )

    @property
    def speeds_note(self) -> str:
        """How speeds were measured, and which rows have none; empty if no row has."""
        if not self.speeds:
            return ""
        without = [plain_markdown(name) for name in rows_of(self.results) if name not in self.speeds]
        absent = f" The store has no weights of {and_more(without, NAMED)}, so no speed." if without else ""
        return f"Speeds: {self.how}.{absent}"

    @cached_property
    def lines(self) -> list[dict[str, str]]:
        """A line with all columns for every row, the lowest gFD first, and then for images from elsewhere."""
        means = {name: _mean(seeds, self.main_set) for name, seeds in rows_of(self.results).items()}
        rows = sorted(rows_of(self.results).items(), key=lambda row: means[row[0]])
        return [*(self._line(name, seeds) for name, seeds in rows), *map(self._line_of_pair, self.pairs)]

    def _line(self, name: str, seeds: Sequence[Result]) -> dict[str, str]:
        e, images = seeds[0].experiment, data_sets(self.results)
        line = {NAME: name} | ({"images": images[seeds[0].data]} if images else {})
        line |= {"latents": str(e.latents), "numbers": str(e.latents.numbers), "bits": bits(e)}
        for head, (metric, split, stage) in self._measured.items():
            line[head] = cell(seeds, metric, split, stage)
        forward = flops.of_encoder(e) + flops.of_decoder(e)
        line["weights (millions)"] = f"{e.tokenizer_parameters / 1e6:.3g}" if e.tokenizer_parameters else "–"
        line["GFLOPs of an image"] = f"{forward / 1e9:.3g}" if forward else "–"
        speed = self.speeds.get(name, Speed((), (), math.nan))
        line |= {head: _spread(rates) for head, rates in zip(SPEEDS, speed[:2], strict=True)}
        return line | {MEMORY: "–" if math.isnan(speed.peak) else f"{speed.peak:.0f}"}

    def _line_of_pair(self, pair: Pair) -> dict[str, str]:
        """Whatever is no number of reconstruction stays empty, and a number on other images says so."""
        texts = {r.metric: text_of(r) + ("" if pair.same else f" ({r.n} other images)") for r in pair.numbers}
        heads = headers(RECONSTRUCTION, self.results)
        return {NAME: pair.row} | {heads[metric]: text for metric, text in texts.items()}

    @cached_property
    def _measured(self) -> dict[str, tuple[str, str, str]]:
        """Metric, split and stage by the head of their column."""
        places = [(metric, "val", "evaluation") for metric in RECONSTRUCTION]
        places += [(metric, self.main_set, "generation") for metric in GENERATION]
        return {heading(place[0], protocol_of(self.results, *place)): place for place in places}

    def main_table(self) -> str:
        """The table of at most seven columns."""
        measured = {metric: head for head, (metric, _, _) in self._measured.items()}
        coded = any(line.get("bits", "–") != "–" for line in self.lines)
        heads = [NAME, "numbers", *(["bits"] if coded else []), *(measured[m] for m in ("rfd", "psnr", "gfd"))]
        return self._table([*heads, SPEEDS[1]][:MOST_COLUMNS])

    def folded_tables(self) -> dict[str, str]:
        """The tables of all columns, by their heading."""
        heads = list(self._measured)
        of_latents = [NAME, "images", "latents", "numbers", "bits", *heads[: len(RECONSTRUCTION)]]
        of_cost = [NAME, *heads[len(RECONSTRUCTION) :], "weights (millions)", "GFLOPs of an image", *SPEEDS, MEMORY]
        return {"Latents and reconstruction": self._table(of_latents), "Generation and cost": self._table(of_cost)}

    def _table(self, heads: Sequence[str]) -> str:
        known = [head for head in heads if any(head in line for line in self.lines)]
        return markdown([{head: line.get(head, "–") for head in known} for line in self.lines])

    def images_elsewhere(self) -> list[str]:
        """A line for every number of images from elsewhere, with its N and its protocol."""
        told = []
        for pair in self.pairs:
            for r in pair.numbers:
                name, source = title(r.metric, protocol_in(r.protocol_id)), f"N = {r.n}, `{r.protocol_id}`"
                told.append(plain_markdown(f"**{name}** of {pair.row}, {source}: {r.protocol}."))
        return told

    def frame(self) -> pd.DataFrame:
        """All columns, and the scale, and N and the protocol of every number."""
        by_row, pairs = rows_of(self.results), {pair.row: pair.numbers for pair in self.pairs}
        lines = []
        for line in self.lines:
            seeds, of_pair = by_row.get(line[NAME], []), pairs.get(line[NAME], ())
            sources: dict[str, str] = {}
            for head, (metric, *at) in self._measured.items():
                found = [r for seed in seeds if (r := seed.value(metric, *at))] + [
                    r for r in of_pair if r.metric == metric
                ]
                sources[f"N of {head}"] = _alike(found, lambda r: str(r.n))
                sources[f"protocol of {head}"] = _alike(found, lambda r: r.protocol_id)
            lines.append(line | {"scale": self.scale} | sources)
        return pd.DataFrame(lines).fillna("–")


def write(page: Page, out: Path) -> str:
    """Writes the page as Markdown and HTML, and its table as CSV; returns what the terminal shows, with the path."""
    name = f"{page.request.page}-league"
    path = write_page("league/page.md.j2", out / f"{name}.md", page=page, rows=page.request.page)
    site.write_html(path)
    write_text(path.with_suffix(".csv"), page.frame().to_csv(index=False))
    index.write(out)
    lines = (line.replace("**", "") for line in page.answer)
    told = [page.seeds_note, *filter(None, [page.speeds_note]), *(f"- {line}" for line in lines)]
    return "\n\n".join(
        [*filter(None, [page.preface]), page.main_table(), "\n".join([*told, f"{path}, .html, .csv"])],
    )


def _mean(seeds: Sequence[Result], split: str) -> float:
    values = [v.value for r in seeds if (v := r.value("gfd", split, "generation")) is not None]
    return sum(values) / len(values) if values else math.inf


def _range(of_rows: Mapping[str, float], unit: str) -> str:
    """The least and the largest number with their rows; empty if they are equal."""
    if len(set(of_rows.values())) < 2:
        return ""
    low, high = min(of_rows.values()), max(of_rows.values())
    least, most = (
        and_more([plain_markdown(name) for name in of_rows if of_rows[name] == n], NAMED) for n in (low, high)
    )
    return f"{low:.0f} {unit} ({least}) to {high:.0f} ({most})"


def _spread(speeds: Sequence[float]) -> str:
    """The median of the rounds, with the slowest and the fastest one."""
    return f"{median(speeds):.0f} [{min(speeds):.0f}, {max(speeds):.0f}]" if speeds else "–"


def _alike(found: Sequence[Record], of: Callable[[Record], str]) -> str:
    return ", ".join(dict.fromkeys(map(of, found))) or "–"
