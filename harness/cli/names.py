"""The names that can be given on the command line, one line each."""

from __future__ import annotations

from harness.experiments.objectives import OBJECTIVES
from harness.experiments.requests import study_called
from harness.experiments.scales import SCALES
from harness.experiments.study import Ablation, Study
from harness.experiments.sweep import Sweep
from harness.search.samplers import PRUNERS, SAMPLERS
from harness.system import plugins


def listing() -> str:
    """Studies, scales, variants, data sets and metrics, one line each."""
    from models.variants import VARIANTS

    sections = {
        "studies": _studies(Ablation),
        "sweeps": _studies(Sweep),
        "scales": {name: known.about for name, known in SCALES.items()},
        "variants": {name: variant.about for name, variant in VARIANTS.items()},
        "tokenizers": {name: plugins.summary("models.tokenizers", name) for name in plugins.names("models.tokenizers")},
        "generators": {name: plugins.summary("models.generators", name) for name in plugins.names("models.generators")},
        "data sets": _abouts("harness.data.sets", "data set"),
        "metrics": _abouts("harness.evaluation.metrics", "metric"),
        "stages": _abouts("harness.stages", "stage"),
        "executors": _abouts("harness.execution.executors", "executor"),
        "objectives": {name: f"{o.title}, {o.better} is better" for name, o in OBJECTIVES.items()},
        "samplers": SAMPLERS,
        "pruners": PRUNERS,
    }
    lines = []
    for title, entries in sections.items():
        width = max(map(len, entries))
        lines += [f"{title}:", *(f"  {name:<{width}}  {about}" for name, about in entries.items()), ""]
    return "\n".join(lines).rstrip()


def _studies(kind: type[Study]) -> dict[str, str]:
    declared = {name: study_called(name) for name in plugins.names("ablations")}
    return {name: study.title for name, study in declared.items() if isinstance(study, kind)}


def _abouts(package: str, kind: str) -> dict[str, str]:
    return {name: plugins.load(package, name, kind).about for name in plugins.names(package)}
