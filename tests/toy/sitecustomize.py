"""What every process of the toy's checkout replaces as it starts: a machine without torch, and the toy's objectives.

Python imports a module of this name at its start, before anything of the checkout is imported.
"""

from harness.experiments import objectives
from harness.experiments.objectives import Objective
from harness.system import machine
from harness.system.machine import Machine


def _this_machine() -> Machine:
    return Machine("cpu", "float32", 1)


def _stages(chosen: object) -> tuple[str, ...]:
    return ("toy_bowl",)


machine.this_machine = _this_machine
objectives.OBJECTIVES |= {name: Objective(name, "lower", "toy_bowl", "toy") for name in ("rfd", "kl")}
objectives.PROXY_STAGE = "toy_bowl"
objectives.stages = _stages
