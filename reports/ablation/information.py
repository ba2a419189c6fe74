"""The part of an ablation's page on the information in the latents."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from harness.evaluation import collapse, validation
from harness.evaluation.reconstructed import DROPPED_IMAGES
from harness.evaluation.records import heading
from reports.ablation import embeddings
from reports.results import Result, rows_of
from reports.tables import STATUS_NOTE, cell, cells_of_plugins, head_cells, markdown, statuses

METRICS = (
    *("kl", "linear_gaussian_kl", "kl_per_token", "kl_per_dimension", "mutual_information", "gaussian_rate"),
    "active_units",
)
LATENTS = ("probe", "probe_mean", "knn", "effective_rank", "isotropy", "shuffled_error", "dropped_token")
CODES = ("code_use", "code_perplexity")


@dataclass(frozen=True)
class Information:
    """Markdown for the template about the latents."""

    results: Sequence[Result]

    def table(self) -> str:
        """The table of information in the latents, with the KL of a linear-Gaussian model as a reference."""
        return self._table(METRICS, "information")

    def latents_table(self) -> str:
        """The table of classifiers on the latents, of their spread, and of the decoder's dependence on them."""
        coded = any(r.experiment.tokenizer.codes.on or r.experiment.tokenizer.soft_codes.on for r in self.results)
        return self._table(LATENTS + CODES if coded else LATENTS, "latents")

    def _table(self, metrics: Sequence[str], table: str) -> str:
        lines = []
        for name, seeds in rows_of(self.results).items():
            line = head_cells(name, seeds, self.results)
            line |= {heading(metric): cell(seeds, metric, "val") for metric in metrics}
            line |= cells_of_plugins(table, seeds, self.results, "val")
            line["status"] = statuses(seeds)
            lines.append(line)
        return markdown(lines)

    def status_rules(self) -> str:
        return collapse.RULES

    @property
    def status_note(self) -> str:
        """What the status counts and what active units do; empty if no row has a KL."""
        return STATUS_NOTE if any(r.experiment.tokenizer.gaussian.on for r in self.results) else ""

    @property
    def most_information(self) -> float:
        """The largest mutual information that its estimate from `val` can have, in nats."""
        return math.log(self.results[0].experiment.data.val_images)

    @property
    def validation_images(self) -> int:
        """The number of images for each point of a curve."""
        return min(validation.Validation.IMAGES, self.results[0].experiment.data.val_images)

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
