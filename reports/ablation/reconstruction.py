"""The part of an ablation's page on reconstructed images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.experiments.requests import AblationRequest
from reports import foils
from reports.results import Result, rows_of, shared
from reports.tables import cell, cells_of_plugins, head_cells, headers, markdown, printed_only, statuses

METRICS = ("kid", "rfd", "rfd_infinity", "psnr", "ssim")  # with few images the kernel distance comes first
TRANSFERRED = ("kid", "rfd", "psnr", "ssim", "kl", "active_units", "probe", "shuffled_error")
PAPER = {"rfd": "rfid", "psnr": "psnr", "ssim": "ssim"}


def name_of_paper(metric: str) -> str:
    """The head of the column with the paper's numbers for a metric of ours."""
    return {"rfid": "paper rFID"}.get(PAPER[metric], f"paper {PAPER[metric].upper()}")


@dataclass(frozen=True)
class Reconstruction:
    """Markdown for the template about reconstructed images."""

    request: AblationRequest
    results: Sequence[Result]

    @property
    def rows(self) -> dict[str, list[Result]]:
        """The results by row."""
        return rows_of(self.results)

    @property
    def has_unseen(self) -> bool:
        """Whether the data set has a split of unseen objects."""
        run = shared(self.results, "data")
        return run is not None and "val_unseen" in run.fact("images")

    def table(self, split: str) -> str:
        """The table of reconstruction, with the paper's numbers if it has such a table."""
        paper, heads = self.request.printed, headers(METRICS, self.results, split)
        lines = []
        for name, seeds in self.rows.items():
            line = head_cells(name, seeds, self.results)
            of_paper = paper.get(seeds[0].row.published or "", {})
            for metric in METRICS:
                line[heads[metric]] = cell(seeds, metric, split)
                if paper and metric in PAPER and split == "val":
                    line[name_of_paper(metric)] = of_paper.get(PAPER[metric]) or "–"
            line |= cells_of_plugins("reconstruction", seeds, self.results, split)
            line["status"] = statuses(seeds)
            lines.append(line)
        columns = {PAPER[m]: name_of_paper(m) for m in METRICS if m in PAPER} if split == "val" else {}
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

    def foils_table(self) -> str:
        """The table of the rows beside principal components."""
        return foils.comparison(self.results)

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
