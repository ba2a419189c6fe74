"""A space of your own, over the fields that `--space` names."""

from harness.experiments.study import Row
from harness.experiments.sweep import Sweep
from models.variants import VARIANTS


def __getattr__(name: str) -> Sweep:
    """The study: its rows are the variants that there are when it is read, those of plug-ins included."""
    if name != "study":
        raise AttributeError(name)
    return Sweep(
        title="A space of your own",
        question="Where in this space is the objective best?",
        rows=tuple(Row(name, name) for name in VARIANTS),
        space=(),
        chosen=("mactok",),
        objective="gfd",
        fields={"finetuning.on": False, "guidance.on": False},
    )
