"""Samplers, which suggest the trials of a sweep, and pruners, which give trials up early."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.experiments.keys import key_of
from harness.experiments.requests import SweepRequest
from harness.system.errors import Mistake, unknown

if TYPE_CHECKING:
    from optuna import Study
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler

ADAPTIVE_TRIALS = 20  # if neither the command nor the study gives a number
SAMPLERS = {
    "grid": "every value of the grid once",
    "random": "evenly over the ranges",
    "tpe": "tree-structured Parzen estimator: where good trials are denser than bad ones",
    "gp": "Gaussian process: expected improvement",
    "cmaes": "CMA-ES: a Gaussian that moves and stretches; needs two or more ranges, one objective",
}

INDEPENDENT = ("grid", "random")  # their suggestions do not depend on results
PRUNERS = {
    "none": "every trial runs to its end",
    "median": "gives up trials that are worse than the median of earlier trials at the same step",
    "hyperband": "gives up all but the best third of a bracket, at several steps",
}

MEDIAN_AFTER_TRIALS = 3


@dataclass(frozen=True)
class Search:
    """How to search. `trials` is the total number, including those of earlier commands."""

    sampler: str
    pruner: str
    trials: int
    storage: str

    @property
    def independent(self) -> bool:
        """Whether suggestions do not depend on results, so that all trials may run at a time."""
        return self.sampler in INDEPENDENT

    def require(self, request: SweepRequest) -> None:
        """Raises `Mistake` if the sampler or the pruner does not suit the space and the objectives."""
        for kind, name, choices in (("sampler", self.sampler, SAMPLERS), ("pruner", self.pruner, PRUNERS)):
            if name not in choices:
                raise unknown(kind, name, choices)
        axes, several = request.axes, len(request.objectives) > 1
        if self.sampler == "grid":
            request.grid()
        ranges = len(axes) > 1 and all(a.continuous for a in axes)
        if self.sampler == "cmaes" and (several or len(request.chosen_rows()) > 1 or not ranges):
            raise Mistake("--sampler cmaes takes one objective, one row and two ranges or more; tpe takes any")
        if self.pruner != "none" and self.sampler == "gp":
            raise Mistake(
                f"--pruner {self.pruner}: --sampler gp learns nothing from trials that were given up; tpe does"
            )
        if self.pruner != "none" and several:
            raise Mistake(
                f"--pruner {self.pruner} compares trials by one objective, and this sweep has {len(request.objectives)}"
            )

    def sampler_of(self, study: Study, number: int, axis: str = "") -> BaseSampler:
        """The sampler that suggests trial `number`, or one axis of it."""
        from optuna import samplers

        seed = int(key_of([study.study_name, number, axis])[:8], 16)
        samplers_by_name: dict[str, Callable[..., BaseSampler]] = {
            "grid": samplers.RandomSampler,  # its trials are enqueued, and nothing is left to suggest
            "random": samplers.RandomSampler,
            "tpe": samplers.TPESampler,
            "gp": samplers.GPSampler,
            "cmaes": samplers.CmaEsSampler,
        }
        return samplers_by_name[self.sampler](seed=seed)

    def pruner_of(self, steps: int) -> BasePruner:
        """The pruner for trials that train for `steps` steps."""
        from optuna import pruners

        if self.pruner == "median":
            return pruners.MedianPruner(n_startup_trials=MEDIAN_AFTER_TRIALS, n_warmup_steps=steps // 5)
        if self.pruner == "hyperband":
            return pruners.HyperbandPruner(min_resource=max(1, steps // 9), max_resource=steps, reduction_factor=3)
        return pruners.NopPruner()
