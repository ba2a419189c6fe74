"""The objectives of sweeps: a metric, the stages that it needs, and the curve that a pruner reads during training.

probe and kl need a trained tokenizer and its latents, rfd also needs its reconstructions, gfd a generator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from harness.experiments.experiment import Experiment
from harness.system import plugins
from harness.system.errors import Mistake, unknown


@dataclass(frozen=True)
class Objective:
    """A metric that is better `higher` or `lower`, and the stage that measures it.

    `proxy` is the curve of the tokenizer's training that a pruner reads; it is better in the same direction. `same`:
    the curve is the objective itself on fewer images.
    """

    metric: str
    better: str
    stage: str
    proxy: str
    same: bool = False

    @property
    def title(self) -> str:
        """The title of the metric on pages."""
        return str(plugins.load("harness.evaluation.metrics", self.metric, "metric").title)

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        """The direction in Optuna's terms."""
        return "maximize" if self.better == "higher" else "minimize"

    @property
    def best(self) -> Callable[..., Any]:
        """The function that returns the best of several values."""
        return max if self.better == "higher" else min

    def split(self, experiment: Experiment) -> str:
        """The split that the metric is measured on."""
        if self.stage != "generation":
            return "val"
        return "guided" if experiment.guidance.on else "samples"


OBJECTIVES = {
    "probe": Objective("probe", "higher", "diagnosis", "val/active_units"),
    "kl": Objective("kl", "higher", "diagnosis", "val/kl", same=True),  # the metric has no better direction
    "rfd": Objective("rfd", "lower", "evaluation", "val/error"),
    "gfd": Objective("gfd", "lower", "generation", "val/error"),
}
PROXY_STAGE = "tokenizer"


def objectives(names: str) -> tuple[Objective, ...]:
    """The objectives in `names`, comma-separated; raises `Mistake`."""
    chosen = [name.strip() for name in names.split(",") if name.strip()]
    for name in chosen:
        if name not in OBJECTIVES:
            raise unknown("objective", name, OBJECTIVES)
    if not chosen or len(set(chosen)) < len(chosen):
        choices = ", ".join(OBJECTIVES)
        raise Mistake(f"--objective {names}: should be one of {choices}, or several different ones separated by commas")
    return tuple(OBJECTIVES[name] for name in chosen)


def stages(chosen: tuple[Objective, ...]) -> tuple[str, ...]:
    """The stages whose results the objectives read; results of a generator come with those of its tokenizer.

    Reconstructions come with those of principal components.
    """
    wanted = {o.stage for o in chosen}
    if "generation" in wanted:
        wanted.add("evaluation")
    if "evaluation" in wanted:
        wanted.add("pca")
    return tuple(stage for stage in ("pca", "diagnosis", "evaluation", "generation") if stage in wanted)
