"""What can be given on the command line: names, and fields of `--set`."""

from __future__ import annotations

from collections.abc import Mapping

from harness.evaluation.protocols import PROTOCOLS
from harness.experiments.field_texts import groups
from harness.experiments.objectives import OBJECTIVES
from harness.experiments.requests import OPTION_FIELDS, study_called
from harness.experiments.scales import SCALES, Scale
from harness.experiments.study import Ablation, Study
from harness.experiments.sweep import Sweep
from harness.networks.teachers import TEACHERS
from harness.search.samplers import PRUNERS, SAMPLERS
from harness.system import plugins, terminal
from harness.system.errors import unknown

FIELDS = "fields"


def listing(kind: str = "") -> str:
    """The names of a kind, or of all kinds, one line each. Raises `Mistake`."""
    kinds = names()
    if kind and kind not in kinds:
        raise unknown("kind", kind, [*kinds, FIELDS])
    return "\n\n".join(section(f"{title}:", kinds[title]) for title in ([kind] if kind else kinds))


def section(title: str, about: Mapping[str, str]) -> str:
    """A title with names below it."""
    return f"{terminal.prose(title)}\n{terminal.entries(about)}"


def names() -> dict[str, Mapping[str, str]]:
    """All names with what they mean, by kind."""
    from models.variants import VARIANTS

    studies = {name: study_called(name) for name in plugins.names("ablations")}
    return {
        "studies": _titles(studies, Ablation),
        "sweeps": _titles(studies, Sweep),
        "rows": {name: "; ".join(row.name for row in study.rows) for name, study in studies.items()},
        "scales": {name: known.about for name, known in SCALES.items()},
        "variants": {name: variant.about for name, variant in VARIANTS.items()},
        "tokenizers": _summaries("models.tokenizers"),
        "generators": _summaries("models.generators"),
        "layouts": _summaries("harness.hub.released"),
        "teachers": {name: teacher.about for name, teacher in TEACHERS.items()},
        "data sets": _abouts("harness.data.sets", "data set"),
        "metrics": _abouts("harness.evaluation.metrics", "metric"),
        "protocols": {name: protocol.about for name, protocol in PROTOCOLS.items()},
        "stages": _abouts("harness.stages", "stage"),
        "executors": _abouts("harness.execution.executors", "executor"),
        "objectives": {name: f"{o.title}, {o.better} is better" for name, o in OBJECTIVES.items()},
        "samplers": SAMPLERS,
        "pruners": PRUNERS,
    }


def fields(at: Scale) -> str:
    """Every field of `--set` with its value at a scale, the values that it takes, and its meaning."""
    sections = []
    for group in groups(at.experiment):
        about = {
            f"{field.path} = {field.value}": f"({field.takes}) {field.meaning}"
            for field in group.fields
            if field.path not in OPTION_FIELDS
        }
        sections.append(section(f"{group.prefix.rstrip('.') or at.experiment.scale}: {group.about.rstrip('.')}", about))
    return "\n\n".join(sections)


def _titles(studies: Mapping[str, Study], kind: type[Study]) -> dict[str, str]:
    return {name: study.title for name, study in studies.items() if isinstance(study, kind)}


def _summaries(package: str) -> dict[str, str]:
    return {name: plugins.summary(package, name) for name in plugins.names(package)}


def _abouts(package: str, kind: str) -> dict[str, str]:
    return {name: plugins.load(package, name, kind).about for name in plugins.names(package)}
