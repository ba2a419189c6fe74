"""Weights on disk: safetensors files, which hold tensors and no code."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from harness.experiments.experiment import Experiment
from harness.store.runs import Run
from harness.system import plugins
from harness.system.files import replacing
from models import generators

if TYPE_CHECKING:
    from torch import nn

    from models.autoencoders.tokenizer import Tokenizer

WEIGHTS = "weights.safetensors"
MOMENTS = 5  # of a training, at which its weights are kept
MOMENTS_OF_GENERATOR = 20  # a ratio of steps to one quality is read between them


def save(run: Run, name: str, module: nn.Module) -> None:
    """Writes the weights of `module` as file `name` of `run`, atomically."""
    from safetensors.torch import save as serialised

    (run.folder / name).parent.mkdir(exist_ok=True)
    with replacing(run.folder / name) as temporary:
        temporary.write_bytes(serialised({key: value.contiguous() for key, value in module.state_dict().items()}))


def snapshot_steps(steps: int, moments: int = MOMENTS) -> list[int]:
    """Up to so many evenly spaced steps; the last one is the end of training."""
    return sorted({round(steps * k / moments) for k in range(1, moments + 1)} - {0})


def snapshot_file(step: int, steps: int) -> str:
    """The file of the weights after `step` of `steps` steps."""
    return WEIGHTS if step == steps else f"snapshots/{step}.safetensors"


def earlier_file(steps: int, share: float) -> str:
    """The file of the kept weights of a generator that are nearest to this share of its training."""
    moments = snapshot_steps(steps, MOMENTS_OF_GENERATOR)[:-1] or [steps]  # the last is the generator itself
    return snapshot_file(min(moments, key=lambda step: abs(step - share * steps)), steps)


def keep_snapshots(run: Run, steps: int) -> Callable[[int, nn.Module], None]:
    """A function that saves the weights after one of `steps` steps."""
    return lambda step, module: save(run, snapshot_file(step, steps), module)


def load_tokenizer(experiment: Experiment, run: Run, name: str = WEIGHTS) -> Tokenizer:
    """The tokenizer of `experiment`, in evaluation mode, with the weights in file `name` of `run`."""
    from safetensors.torch import load_file

    from harness.networks import outside
    from models import tokenizers

    if experiment.tokenizer.outside.on:
        return outside.wrapped(experiment.tokenizer.outside).eval()
    tokenizer = tokenizers.network(experiment.tokenizer, experiment.data.image_size)
    tokenizer.load_state_dict(load_file(run.file(name)))
    return tokenizer.eval()


def new_generator(experiment: Experiment, classes: int) -> nn.Module:
    """The generator of `experiment` for `classes` classes, with random weights."""
    generator = experiment.generator
    file = plugins.load("models.generators", generator.name, "generator")
    network = file.network if generator.name in generators.OUTSIDE else file.Network
    options: dict[str, Any] = {"qk_norm": True} if generator.qk_norm else {}  # not every generator has this option
    if generator.name in generators.CODED:
        options["codes"] = experiment.tokenizer.codes.codes
    module: nn.Module = network(generator.size, experiment.latents, classes, **options)
    return module


def load_generator(experiment: Experiment, classes: int, run: Run, name: str = WEIGHTS) -> nn.Module:
    """The generator of `experiment`, in evaluation mode, with the weights in file `name` of `run`."""
    from safetensors.torch import load_file

    generator = new_generator(experiment, classes)
    generator.load_state_dict(load_file(run.file(name)))
    return generator.eval()
