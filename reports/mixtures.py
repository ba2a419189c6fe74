"""What a page warns of: provenance that differs between its rows, and changes of a study that mirrors the paper."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from harness.experiments.requests import Request
from harness.system.environment import is_changed
from harness.system.texts import and_more
from reports.results import Result, data_sets, environments

PROVENANCE = {
    "commit": "commits",
    "data_content": "contents of the data set",
    "dtype": "dtypes",
    "device": "devices",
    "processor": "processors",
    "threads": "thread counts",
    "world_size": "numbers of processes",
}
# On a cluster every stage has its own resources, and later code may measure numbers again. So these only have to agree
# within one stage over all rows. The code on which a result depends is in its key, as the revision of the stage.
PER_STAGE = ("commit", "dtype", "device", "processor", "threads", "world_size")
NAMED = 4  # rows in a sentence


def mixtures(results: Sequence[Result]) -> list[str]:
    """Warnings on provenance that differs between rows or between their attempts, one sentence each."""
    sentences, attempts = [], environments(results)
    if data_sets(results):
        sentences.append("The rows have several data sets. Numbers of different ones cannot be compared.")
    for name, plural in PROVENANCE.items():
        values: dict[str, set[str]] = {}
        for stage, e in attempts:
            values.setdefault(stage if name in PER_STAGE else "", set()).add(str(e[name]))
        many = _known_contents(results) if name == "data_content" else 1
        mixed = {stage: sorted(v - {""}) for stage, v in values.items() if len(v - {""}) > many}
        if mixed:
            stages = f" (in the stages {', '.join(mixed)})" if name in PER_STAGE else ""
            shown = sorted({value[: 12 if name == "commit" else 40] for v in mixed.values() for value in v})
            where = _contents(results) if name == "data_content" else ""
            sentences.append(f"The rows mix {plural}: {', '.join(shown)}{stages}.{where}")
    if any(is_changed(e) for _, e in attempts):
        sentences.append("Some runs were made with uncommitted changes; their records hold the difference.")
    elif any(e["uncommitted"] for _, e in attempts):
        sentences.append("Beside the code of some runs lay files that no commit has; their records name them.")
    return sentences


def _contents(results: Sequence[Result]) -> str:
    """Sentences on which rows and seeds have which contents of their data set; empty if all have the same."""
    groups: dict[tuple[str, ...], list[Result]] = {}
    for r in results:
        if r.contents:
            groups.setdefault(r.contents, []).append(r)
    if len(groups) < 2:
        return ""
    told = [f"{' and '.join(contents)} in {_places(of, results)}" for contents, of in sorted(groups.items())]
    of_seeds = {(r.experiment.seed, r.contents) for r in results if r.contents}
    compared = (
        "Within a seed all rows have the same images, so that differences compare the same images"
        if len(of_seeds) == len({seed for seed, _ in of_seeds})
        else "Numbers on different images cannot be compared"
    )
    return f" In detail: {'; '.join(told)}. {compared}."


def _places(some: Sequence[Result], results: Sequence[Result]) -> str:
    """Some of the results in words: seeds of all rows, and rows by seed."""
    rows = {seed: {r.row.name for r in results if r.experiment.seed == seed} for seed in {*map(_seed, some)}}
    own = {seed: {r.row.name for r in some if r.experiment.seed == seed} for seed in rows}
    whole = sorted(seed for seed in own if own[seed] == rows[seed])
    told = [f"{_seeds(whole)} of all rows"] if whole else []
    left: dict[str, list[int]] = {}
    for r in some:
        if _seed(r) not in whole:
            left.setdefault(r.row.name, []).append(_seed(r))
    for seeds in sorted({tuple(of) for of in left.values()}):
        names = [name for name, of in left.items() if tuple(of) == seeds]
        told.append(f"{and_more(names, NAMED)} ({_seeds(seeds)})")
    return ", ".join(told)


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"


def _seed(result: Result) -> int:
    return result.experiment.seed


def changes(request: Request) -> list[str]:
    """A warning if the user changed a study that mirrors the paper."""
    if not request.changed or not (request.study.claims or request.study.published_table):
        return []
    return [
        f"Changed from the study as it is declared: {', '.join(request.changed)}. The paper has no numbers for that, "
        "so this page shows none. It tests the paper's claims on the changed study, which the paper does not discuss."
    ]


def _known_contents(results: Sequence[Result]) -> int:
    """How many data sets the rows are trained and measured on."""
    experiments = [r.experiment for r in results]
    every = [*experiments, *(other for e in experiments if (other := e.transferred) is not None)]
    return len({dataclasses.replace(e.data, flip=True) for e in every})
