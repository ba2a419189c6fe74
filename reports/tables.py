"""What all tables of a page share: heads, cells, Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from harness.evaluation.records import digits_of, heading, text_of
from harness.system.files import replacing
from reports.results import Result, protocol_of
from reports.statistics import intervals


def headers(
    names: Sequence[str], results: Sequence[Result], split: str = "val", stage: str = "evaluation"
) -> dict[str, str]:
    """The heads of several columns, by the protocol of what the results of a page have in them."""
    return {metric: heading(metric, protocol_of(results, metric, split, stage)) for metric in names}


def cell(seeds: Sequence[Result], metric: str, split: str, stage: str = "evaluation") -> str:
    """The mean over seeds with half of its 95 % t interval or, of one seed, what is known of its error."""
    found = [r for seed in seeds if (r := seed.value(metric, split, stage)) is not None]
    if not found:
        return "–"
    if len(seeds) == 1:
        text = text_of(found[0])
    else:
        text = intervals.shown([r.value for r in found], digits_of(metric, protocol_of(seeds, metric, split, stage)))
    return text if len(found) == len(seeds) else f"{text} ({len(found)} of {len(seeds)} seeds)"


def seeds_note(seeds: int) -> str:
    """What the numbers of a page with so many seeds are."""
    if seeds == 1:
        return "One seed: no interval."
    return f"Mean over {seeds} seeds ± half of its 95 % t interval."


def statuses(seeds: Sequence[Result]) -> str:
    """The status of a row, or of its seeds where they differ."""
    return ", ".join(dict.fromkeys(r.status for r in seeds))


def markdown(lines: list[dict[str, str]]) -> str:
    """A Markdown table of lines with the same columns; numbers stay as they were written."""
    return str(pd.DataFrame(lines).fillna("–").to_markdown(index=False, disable_numparse=True))


def rendered(template: str, path: Path, **values: object) -> Path:
    """Writes the page that a template makes of `values` to `path`, atomically, and returns that."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    text = templates.get_template(template).render(**values)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(text)
    return path
