"""Weights on disk: safetensors, which hold tensors and no code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.experiment import Experiment
from harness.store import Run, replacing

if TYPE_CHECKING:
    from torch import nn

    from models.tokenizer import Tokenizer

WEIGHTS = "weights.safetensors"


def save(run: Run, name: str, module: nn.Module) -> None:
    """Writes the weights of `module` as file `name` of `run`, atomically."""
    from safetensors.torch import save as serialised

    (run.folder / name).parent.mkdir(exist_ok=True)
    with replacing(run.folder / name) as temporary:
        temporary.write_bytes(serialised({key: value.contiguous() for key, value in module.state_dict().items()}))


def load_tokenizer(experiment: Experiment, run: Run, name: str = WEIGHTS) -> Tokenizer:
    """The tokenizer of `experiment`, in evaluation mode, with the weights in file `name` of `run`."""
    from safetensors.torch import load_file

    from models.tokenizer import Tokenizer

    tokenizer = Tokenizer(experiment.tokenizer, experiment.data.image_size)
    tokenizer.load_state_dict(load_file(run.file(name)))
    return tokenizer.eval()
