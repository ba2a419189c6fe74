"""The league table: reconstruction, latents, generation and cost of every tokenizer in one line."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from harness.evaluation.records import text_of
from harness.networks import flops
from harness.store.records import Record
from harness.system.files import write_text
from reports.results import Result, rows_of
from reports.tables import bits, cell, headers, markdown

RECONSTRUCTION = ("rfd", "psnr", "ssim", "probe")
GENERATION = ("gfd", "classifier_score")


def lines(results: Sequence[Result], speeds: Mapping[str, tuple[float, float]]) -> list[dict[str, str]]:
    """A line for every row, the lowest gFD first; `speeds` are images/s of encoder and decoder, by row."""
    table = []
    generation = "guided" if results[0].experiment.guidance.on else "samples"
    for name, seeds in rows_of(list(results)).items():
        e = seeds[0].experiment
        line = {"tokenizer": name, "latents": str(e.latents), "numbers": str(e.latents.numbers), "bits": bits(e)}
        for metric, head in headers(RECONSTRUCTION, results).items():
            line[head] = cell(seeds, metric, "val")
        for metric, head in headers(GENERATION, results, generation, "generation").items():
            line[head] = cell(seeds, metric, generation, "generation")
        forward = flops.of_encoder(e) + flops.of_decoder(e)
        line["weights (millions)"] = f"{e.tokenizer_parameters / 1e6:.3g}" if e.tokenizer_parameters else "–"
        line["GFLOPs of an image"] = f"{forward / 1e9:.3g}" if forward else "–"
        if name in speeds:
            line["encoded images/s"], line["decoded images/s"] = (f"{speed:.0f}" for speed in speeds[name])
        values = [v.value for r in seeds if (v := r.value("gfd", generation, "generation")) is not None]
        table.append((sum(values) / len(values) if values else math.inf, line))
    return [line for _, line in sorted(table, key=lambda pair: pair[0])]


def line_of_pair(name: str, numbers: Sequence[Record], results: Sequence[Result], same: bool) -> dict[str, str]:
    """The line of images reconstructed elsewhere; `same`: their originals are the images that the rows are measured on.

    Whatever is no number of reconstruction stays empty, and a number on other images says so.
    """
    texts = {r.metric: text_of(r) + ("" if same else f" ({r.n} other images)") for r in numbers}
    heads = headers(RECONSTRUCTION, results)
    return {"tokenizer": f"{name} (images)"} | {heads[metric]: text for metric, text in texts.items()}


def write(table: list[dict[str, str]], out: Path, name: str) -> str:
    """Writes the table as Markdown, HTML and CSV beside the page; returns it as text, with the paths."""
    frame, text = pd.DataFrame(table).fillna("–"), markdown(table)
    forms = {"md": text + "\n", "html": frame.to_html(index=False), "csv": frame.to_csv(index=False)}
    for suffix, content in forms.items():
        write_text(out / f"{name}-league.{suffix}", content)
    return f"{text}\n\n{out / f'{name}-league'}.md, .html, .csv"
