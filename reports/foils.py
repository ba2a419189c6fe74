"""Linear foils in tables: principal components and the linear-Gaussian optimum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.evaluation import records
from harness.store.runs import Run
from reports.results import Result, data_sets, protocol_of, rows_of
from reports.tables import cell, head_cells, markdown

FOILS = ("pca", "linear_gaussian")
GENERATOR = ", Gaussian latents"  # the set `prior` of a foil


def of(results: Sequence[Result]) -> dict[str, Run]:
    """The finished runs of foils by their title; rows with equal settings share one.

    Where the rows have several data sets, the title tells which.
    """
    runs, names = {}, data_sets(results)
    for result in results:
        on = f", {names[result.data]}" if names else ""
        for stage in FOILS:
            if (run := result.done(stage)) is not None:
                weight = f"linear-Gaussian at KL weight {result.experiment.tokenizer.gaussian.kl_weight:g}"
                runs[f"{'PCA' if stage == 'pca' else weight}, {run.fact('numbers')} numbers{on}"] = run
    return runs


def lines(results: Sequence[Result], heads: Mapping[str, str], split: str) -> list[dict[str, str]]:
    """Lines of a table for the foils on a split, or on the set `prior`; `heads` are its columns by metric."""
    table = []
    for title, run in of(results).items():
        of_split = {r.metric: r for r in run.records() if r.split == split}
        if of_split:
            line = {"row": f"*{title}{GENERATOR if split == 'prior' else ''}*"}
            table.append(line | {heads[m]: records.text_of(r) for m, r in of_split.items() if m in heads})
    return table


def comparison(results: Sequence[Result]) -> str:
    """The table of the rows beside principal components: as many as the latents have numbers, and as are active.

    Where seeds have different numbers of active units, their values stand one by one.
    """
    lines = []
    for name, seeds in rows_of(results).items():
        active = [str(run.fact("numbers")) for r in seeds if (run := r.done("pca_active")) is not None]
        vary = len(set(active)) > 1  # then the seeds have foils of their own, and no mean
        line = head_cells(name, seeds, results) | {
            "numbers": str(seeds[0].experiment.latents.numbers),
            "active": ", ".join(active if vary else active[:1]) or "–",
        }
        for metric in ("psnr", "rfd"):
            head = records.heading(metric, protocol_of(results, metric))
            stages = {"": "evaluation", "PCA, as many numbers: ": "pca", "PCA, as many as are active: ": "pca_active"}
            for prefix, stage in stages.items():
                alike = stage == "pca" or (stage == "pca_active" and not vary)
                own = seeds[:1] if alike else seeds  # a closed form has no seed
                of_each = [cell([r], metric, "val", stage) for r in own if r.done(stage)]
                by_seed = stage == "pca_active" and vary
                line[f"{prefix}{head}"] = ", ".join(of_each) if by_seed else cell(own, metric, "val", stage)
        lines.append(line)
    return markdown(lines)
