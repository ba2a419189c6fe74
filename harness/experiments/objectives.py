"""What a sweep may look for: a metric, the stages that it costs, and the curve that pruning looks at meanwhile.

probe and kl cost the training of a tokenizer and a look at its latents, rfd its reconstructions too, gfd a generator.
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

    `proxy` is the curve of the tokenizer's training that a pruner looks at, better in the same direction; `same` says
    that it is the objective itself on fewer images.
    """

    metric: str
    better: str
    stage: str
    proxy: str
    same: bool = False

    @property
    def title(self) -> str:
        """How pages call it."""
        return str(plugins.load("harness.evaluation.metrics", self.metric, "metric").title)

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        """Optuna's word for where it is better."""
        return "maximize" if self.better == "higher" else "minimize"

    @property
    def best(self) -> Callable[..., Any]:
        """What picks the best of several."""
        return max if self.better == "higher" else min

    def split(self, experiment: Experiment) -> str:
        """The images that it is measured on."""
        if self.stage != "generation":
            return "val"
        return "guided" if experiment.guidance.on else "samples"


OBJECTIVES = {
    "probe": Objective("probe", "higher", "diagnosis", "val/active_units"),
    "kl": Objective("kl", "higher", "diagnosis", "val/kl", same=True),  # as a metric neither: here more says more
    "rfd": Objective("rfd", "lower", "evaluation", "val/error"),
    "gfd": Objective("gfd", "lower", "generation", "val/error"),
}
PROXY_STAGE = "tokenizer"


def objectives(names: str) -> tuple[Objective, ...]:
    """The objectives in `names`, comma-separated; raises `Mistake`."""
    found = [name.strip() for name in names.split(",") if name.strip()]
    for name in found:
        if name not in OBJECTIVES:
            raise unknown("objective", name, OBJECTIVES)
    if not found or len(set(found)) < len(found):
        raise Mistake(f"--objective {names}: one of {', '.join(OBJECTIVES)}, or several different ones by commas")
    return tuple(OBJECTIVES[name] for name in found)


def stages(chosen: tuple[Objective, ...]) -> tuple[str, ...]:
    """The stages whose results the objectives take; those of a generator come with its tokenizer's."""
    wanted = {o.stage for o in chosen}
    if "generation" in wanted:
        wanted.add("evaluation")
    return tuple(stage for stage in ("diagnosis", "evaluation", "generation") if stage in wanted)
