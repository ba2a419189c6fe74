"""The part of an ablation's page on its rows: what they are, and what they have to work with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.experiments.fields import differences
from harness.experiments.requests import AblationRequest
from harness.networks import flops
from models.variants import VARIANTS
from reports.results import Result, rows_of
from reports.tables import bits, markdown


@dataclass(frozen=True)
class Rows:
    """Markdown for the template about the rows."""

    request: AblationRequest
    results: Sequence[Result]

    @property
    def by_name(self) -> dict[str, list[Result]]:
        """The results by the name of their row."""
        return rows_of(self.results)

    @property
    def additions(self) -> str:
        """Sentences on the rows whose names begin with +: to which row of the page each adds a part; empty without."""
        rows = [
            row for row in self.request.study.rows if row.name.startswith("+") and row.base and row.name in self.by_name
        ]
        if not rows:
            return ""
        variant = f"`{rows[-1].name}` is the variant `{rows[-1].variant}`."
        told = "; ".join(f"`{row.name}` to `{row.base}`" for row in rows if row.base in self.by_name)
        if not told:
            return variant
        return (
            f"A row whose name begins with + adds one part to another row and keeps all of its parts: {told}. {variant}"
        )

    def table(self) -> str:
        """The table of the rows: variant, base and differences from the base."""
        lines = []
        experiments = {name: seeds[0].experiment for name, seeds in self.by_name.items()}
        for name, seeds in self.by_name.items():
            row = seeds[0].row
            change = "no base"
            if row.base is not None:
                base = self.request.experiment(self.request.study.row(row.base))
                changed = differences(base, experiments[name])
                change = ", ".join(f"`{path}`: {a} → {b}" for path, (a, b) in changed.items())
            variant, about = f"`{row.variant}`", VARIANTS[row.variant].about
            if experiments[name].tokenizer.outside.on:
                variant, about = "–", "a tokenizer from outside, not trained here"
            lines.append(
                {
                    "row": name,
                    "variant": variant,
                    "about": about,
                    "base": row.base or "",
                    "change": change,
                    "runs": self._run_keys(seeds),
                }
            )
        return markdown(lines)

    def recipes_table(self) -> str:
        """The table of the published trainings that rows of peers do not follow; empty without such rows."""
        recipes = {name: VARIANTS[seeds[0].row.variant].recipe for name, seeds in self.by_name.items()}
        return markdown([{"row": name, "published with": recipe} for name, recipe in recipes.items() if recipe])

    def budget_table(self) -> str:
        """The table of what every row has to work with: latents, weights, floating-point operations, steps."""
        lines = []
        for name, seeds in self.by_name.items():
            e = seeds[0].experiment
            line = {"row": name, "latents": f"{e.latents}", "numbers": f"{e.latents.numbers}", "bits": bits(e)}
            line["weights (millions)"] = f"{e.tokenizer_parameters / 1e6:.3g}" if e.tokenizer_parameters else "–"
            if not e.tokenizer.outside.on:
                forward = flops.of_encoder(e) + flops.of_decoder(e)
                line["GFLOPs of an image"] = f"{forward / 1e9:.3g}"
                line["training: steps x images"] = f"{e.training.steps} x {e.training.batch_images}"
                line["training: TFLOPs"] = f"{flops.tokenizer_training(e) / 1e12:.3g}"
            if e.generator.on:
                g = e.generator.training
                line["generator: steps x images"] = f"{g.steps} x {g.batch_images}"
                line["generator: TFLOPs"] = f"{flops.generator_training(e) / 1e12:.3g}"
            lines.append(line)
        return markdown(lines)

    def _run_keys(self, seeds: list[Result]) -> str:
        """The keys of the runs for `harness.generate` and `harness.reconstruct`."""
        stage = "generation" if seeds[0].experiment.generator.on else "evaluation"
        return ", ".join(f"`{r.runs[stage].key}`" for r in seeds)
