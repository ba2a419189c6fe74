"""Heads, cells and Markdown of tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from harness.evaluation.records import digits_of, heading, text_of
from harness.experiments import plugin_metrics
from harness.experiments.experiment import Experiment
from harness.experiments.published import published
from harness.experiments.study import Ablation
from reports.results import Result, protocol_of
from reports.statistics import intervals


def headers(
    names: Sequence[str], results: Sequence[Result], split: str = "val", stage: str = "evaluation"
) -> dict[str, str]:
    """The heads of columns by metric; they depend on the protocol of the results."""
    return {metric: heading(metric, protocol_of(results, metric, split, stage)) for metric in names}


def cell(seeds: Sequence[Result], metric: str, split: str, stage: str = "evaluation") -> str:
    """The mean over seeds ± half of its 95 % t interval; for one seed, the number with its uncertainty."""
    measured = [r for seed in seeds if (r := seed.value(metric, split, stage)) is not None]
    if not measured:
        return "–"
    if len(seeds) == 1:
        text = text_of(measured[0])
    else:
        text = intervals.shown([r.value for r in measured], digits_of(metric, protocol_of(seeds, metric, split, stage)))
    return text if len(measured) == len(seeds) else f"{text} ({len(measured)} of {len(seeds)} seeds)"


def cells_of_plugins(table: str, seeds: Sequence[Result], results: Sequence[Result], split: str) -> dict[str, str]:
    """The cells of a line, by head, for the metrics of plug-ins that belong to this table."""
    stage = "plugin_generation" if table == "generation" else "plugin_metrics"
    names = plugin_metrics.of_table(table)
    return {head: cell(seeds, metric, split, stage) for metric, head in headers(names, results, split, stage).items()}


def bits(experiment: Experiment) -> str:
    """The cell of how many bits the latents of an image have, if they are codes."""
    return "–" if experiment.bits is None else f"{experiment.bits:.0f}"


def printed_only(study: Ablation, columns: Mapping[str, str]) -> list[dict[str, str]]:
    """Lines of a table for what the paper printed and the study has no row for; `columns` maps its columns to heads.

    So no comparison hides. A line without any of these numbers is left out.
    """
    ours = {row.published for row in study.rows}
    lines = []
    for name, printed in published(study.published_table).items():
        numbers = {head: printed[column] for column, head in columns.items() if printed.get(column)}
        if name not in ours and numbers:
            lines.append({"row": f"*{name} (published, not trained here)*"} | numbers)
    return lines


def seeds_note(seeds: int) -> str:
    """A sentence on the uncertainty of numbers over this number of seeds."""
    if seeds == 1:
        return "One seed: no interval."
    return f"Mean over {seeds} seeds ± half of its 95 % t interval."


def statuses(seeds: Sequence[Result]) -> str:
    """The status of a row, or the statuses of its seeds if they differ."""
    return ", ".join(dict.fromkeys(r.status for r in seeds))


def markdown(lines: list[dict[str, str]]) -> str:
    """A Markdown table of lines with the same columns; numbers are not reformatted."""
    return str(pd.DataFrame(lines).fillna("–").to_markdown(index=False, disable_numparse=True))
