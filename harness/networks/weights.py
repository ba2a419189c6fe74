"""Weights on disk: safetensors files, which hold tensors and no code."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from harness.experiments.experiment import Experiment
from harness.networks.tensor_files import read_safetensors
from harness.store.runs import Damaged, Run
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


def load(run: Run, name: str, module: nn.Module) -> None:
    """Loads file `name` of `run` into `module`; raises `Damaged` if its weights do not fit or are not finite."""
    try:
        state = read_safetensors(run.file(name))
        module.load_state_dict(state)
    except (ValueError, RuntimeError):
        raise Damaged(run, name, "is damaged or does not fit its network") from None
    if not all(tensor.isfinite().all() for tensor in state.values()):
        raise Damaged(run, name, "has values that are NaN or infinite")


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
    from harness.networks import outside
    from models import tokenizers

    if experiment.tokenizer.outside.on:
        return outside.wrapped(experiment.tokenizer, experiment.data.image_size).eval()
    tokenizer = tokenizers.network(experiment.tokenizer, experiment.data.image_size)
    load(run, name, tokenizer)
    return tokenizer.eval()


def new_generator(experiment: Experiment, classes: int) -> nn.Module:
    """The generator of `experiment` for `classes` classes, with random weights."""
    plugin = plugins.load("models.generators", experiment.generator.name, "generator")
    network = plugin.network if experiment.generator.name in generators.OUTSIDE else plugin.Network
    generator = experiment.generator
    options: dict[str, Any] = {"qk_norm": True} if generator.qk_norm else {}  # not every generator has this option
    if generator.name in generators.CODED:
        options["codes"] = experiment.tokenizer.codes.codes
    made: nn.Module = network(generator.size, experiment.latents, classes, **options)
    return made


def load_generator(experiment: Experiment, classes: int, run: Run, name: str = WEIGHTS) -> nn.Module:
    """The generator of `experiment`, in evaluation mode, with the weights in file `name` of `run`."""
    generator = new_generator(experiment, classes)
    load(run, name, generator)
    return generator.eval()
