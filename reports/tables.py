"""Heads, cells and Markdown of tables."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import pandas as pd

from harness.evaluation.records import bounds_of, digits_of, heading, text_of
from harness.experiments import plugin_metrics
from harness.experiments.experiment import Experiment
from harness.experiments.requests import Request
from harness.experiments.study import Study
from harness.system.texts import in_cell, plain_markdown
from reports.pages import rendering
from reports.results import Result, data_sets, protocol_of
from reports.statistics import intervals

MOST_COLUMNS = 7  # of a table that is not folded


def headers(
    names: Sequence[str], results: Sequence[Result], split: str = "val", stage: str = "evaluation"
) -> dict[str, str]:
    """The heads of columns by metric; they depend on the protocol of the results."""
    return {metric: heading(metric, protocol_of(results, metric, split, stage)) for metric in names}


def head_cells(name: str, seeds: Sequence[Result], results: Sequence[Result]) -> dict[str, str]:
    """The first cells of a row's line: its name and, where the rows of a page have several data sets, its own."""
    names = data_sets(results)
    return {"row": name} | ({"images": f"`{names[seeds[0].data]}`"} if names else {})


def cell(seeds: Sequence[Result], metric: str, split: str, stage: str = "evaluation") -> str:
    """The mean over seeds with its 95 % t interval; for one seed, the number with its uncertainty."""
    measured = [r for seed in seeds if (r := seed.value(metric, split, stage)) is not None]
    if not measured:
        return "–"
    if len(seeds) == 1:
        text = text_of(measured[0])
    else:
        digits = digits_of(metric, protocol_of(seeds, metric, split, stage))
        text = intervals.shown([r.value for r in measured], digits, bounds_of(metric))
    return text if len(measured) == len(seeds) else f"{text} ({len(measured)} of {len(seeds)} seeds)"


def cells_of_plugins(table: str, seeds: Sequence[Result], results: Sequence[Result], split: str) -> dict[str, str]:
    """The cells of a line, by head, for the metrics of plug-ins that belong to this table."""
    stage = "plugin_generation" if table == "generation" else "plugin_metrics"
    names = plugin_metrics.of_table(table)
    return {head: cell(seeds, metric, split, stage) for metric, head in headers(names, results, split, stage).items()}


def bits(experiment: Experiment) -> str:
    """The cell of how many bits the latents of an image have, if they are codes."""
    return "–" if experiment.bits is None else f"{experiment.bits:.0f}"


def printed_only(request: Request, columns: Mapping[str, str]) -> list[dict[str, str]]:
    """Lines of a table for what the paper printed and the study has no row for; `columns` maps its columns to heads.

    So no comparison hides. A line without any of these numbers is left out.
    """
    ours = {row.published for row in request.study.rows}
    lines = []
    for name, printed in request.printed.items():
        numbers = {head: printed[column] for column, head in columns.items() if printed.get(column)}
        if name not in ours and numbers:
            lines.append({"row": f"*{name} (published, not trained here)*"} | numbers)
    return lines


def notes(study: Study, rows: Collection[str]) -> list[str]:
    """The notes of a study, without those that name a row which is not among `rows`."""
    absent = [f"`{row.name}`" for row in study.rows if row.name not in rows]
    return [note for note in study.notes if not any(name in note for name in absent)]


def seeds_note(seeds: int) -> str:
    """A sentence on the uncertainty of numbers over this number of seeds."""
    if seeds == 1:
        return "One seed: no interval over seeds. A ± or [ ] is over images, as the protocol of its metric says."
    return (
        f"Numbers are means over {seeds} seeds ± half of their 95 % t intervals. An interval that would reach beyond "
        f"what is possible is cut, and stands in [{rendering.NO_BREAK}]."
    )


STATUS_NOTE = (
    "Status says whether the decoder uses the latents as a whole. Active units are counted one by one, by their KL and "
    "their variance over images, whether or not the decoder uses them. So a row can be `never active` and still have "
    "active units."
)


def statuses(seeds: Sequence[Result]) -> str:
    """The status of a row, or the statuses of its seeds with their counts if they differ."""
    counts = Counter(r.status for r in seeds).most_common()
    return counts[0][0] if len(counts) == 1 else ", ".join(f"{status} ({count})" for status, count in counts)


def markdown(lines: list[dict[str, str]]) -> str:
    """A Markdown table of lines with the same columns; numbers are not reformatted, and intervals do not break.

    A column of zeros is left out, and told once below the table.
    """
    frame = pd.DataFrame(lines).fillna("–")
    zeros = {head: text for head in frame.columns[1:] if (text := _zero(frame[head]))}
    table = (
        frame.drop(columns=list(zeros))
        .rename(columns=in_cell)
        .map(lambda text: unbroken(in_cell(text)))
        .to_markdown(index=False, disable_numparse=True)
    )
    told = ", ".join(f"{plain_markdown(head)} = {unbroken(text)}" for head, text in zeros.items())
    return f"{table}\n\nIn every row: {told}." if told else str(table)


def _zero(column: pd.Series) -> str:
    """The cell that a column of several lines has everywhere, if it is zero with a deviation of zero; else empty."""
    cells = set(column) - {"–"}
    cell = cells.pop() if len(cells) == 1 and len(column) > 1 else ""
    return cell.lstrip("+-") if re.fullmatch(r"[+-]?0[.0]*( ± 0[.0]*)?", cell) else ""


def unbroken(text: str) -> str:
    """The text with spaces that do not break within a number with its deviation or interval."""
    text = re.sub(r"(?<=\d) (?=\[-?\d)", rendering.NO_BREAK, rendering.unbroken(text))
    return re.sub(r"\[(-?[\d.]+), (-?[\d.]+)\]", rf"[\1,{rendering.NO_BREAK}\2]", text)
