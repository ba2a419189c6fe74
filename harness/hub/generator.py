"""Released generators as folders: config.json and model.safetensors, which need no store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from huggingface_hub.constants import CONFIG_NAME, SAFETENSORS_SINGLE_FILE
from pydantic import AfterValidator, TypeAdapter
from pydantic.dataclasses import dataclass
from safetensors.torch import save_file
from torch import Tensor, nn

from harness.hub.config import checked, require_sizes
from harness.networks.tensor_files import read_safetensors
from harness.system import plugins
from harness.system.errors import Mistake, Trouble
from models import generators
from models.autoencoders.tokenizer import patches, unpatches
from models.config import STRICT, Positive, Transformer
from models.forms import Latents


def _flow(name: str) -> str:
    if name not in generators.FLOWS:
        raise ValueError(f"{name!r} is none of {', '.join(sorted(generators.FLOWS))}")
    return name


@dataclass(frozen=True, config=STRICT)
class GeneratorConfig:
    """The content of config.json: a velocity network of `models.generators` and the latents that it is for.

    `tokens`, `channels` and `side` are the form of the latents, which have to be normalised as in its training. Latents
    on a grid are read in patches of `patch_size` x `patch_size` places. `origin` says where the weights come from.
    """

    name: Annotated[str, AfterValidator(_flow)]
    size: Transformer
    tokens: Positive
    channels: Positive
    classes: Positive
    side: Positive | None = None
    patch_size: Positive = 1
    qk_norm: bool = False
    origin: str = ""

    def __post_init__(self) -> None:
        side, patch = self.side, self.patch_size
        if side is None and patch > 1:
            raise ValueError("patch_size: only latents on a grid have patches")
        if side is not None and (side % patch or side**2 != self.tokens):
            raise ValueError(f"{self.tokens} tokens are no grid with a side of {side} in patches of {patch} x {patch}")
        if self.qk_norm and self.name not in generators.QK_NORM:
            raise ValueError(f"{self.name} has no qk_norm")

    @property
    def latents(self) -> Latents:
        """The form of the latents."""
        return Latents(self.tokens, self.channels, self.side)

    @property
    def read(self) -> Latents:
        """The form of what the network reads: the latents, or their patches."""
        patch = self.patch_size
        return Latents(self.tokens // patch**2, self.channels * patch**2, self.side and self.side // patch)


class PretrainedGenerator(nn.Module):
    """A trained velocity network: v(x_t, t, y) for latents (B, L, Z), times t (B,) and classes y (B,).

    x_t = (1 - t) x_0 + t eps; y = `config.classes` means no class. It is in evaluation mode, and its weights are
    frozen. Its positions are among its weights, as released ones differ from ours.
    """

    def __init__(self, config: GeneratorConfig):
        super().__init__()
        self.config = config
        network = plugins.load("models.generators", config.name, "generator").Network
        options: dict[str, Any] = {"qk_norm": True} if config.qk_norm else {}
        self.network = network(config.size, config.read, config.classes, **options)
        self.network.register_buffer("positions", self.network.positions)
        self.requires_grad_(False).eval()

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
        side, patch = self.config.side, self.config.patch_size
        if side is None or patch == 1:
            alone: Tensor = self.network(x_t, t, y)
            return alone
        v = self.network(patches(x_t.mT.unflatten(2, (side, side)), side // patch), t, y)
        return unpatches(v, side // patch, self.config.channels).flatten(2).mT

    def save_pretrained(self, save_directory: Path) -> None:
        """Makes the folder and writes both files."""
        save_directory.mkdir(parents=True)
        content = TypeAdapter(GeneratorConfig).dump_json(self.config, indent=2)
        (save_directory / CONFIG_NAME).write_bytes(content)
        state = {name: tensor.contiguous() for name, tensor in self.network.state_dict().items()}
        save_file(state, save_directory / SAFETENSORS_SINGLE_FILE)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> PretrainedGenerator:
        """The generator in a folder. Raises `Mistake` if there is none, `Trouble` if its weights are damaged."""
        for file in (CONFIG_NAME, SAFETENSORS_SINGLE_FILE):
            if not (Path(folder) / file).is_file():
                raise Mistake(f"{folder} is no pretrained generator: it has no {file}")
        try:
            content = json.loads((Path(folder) / CONFIG_NAME).read_text(encoding="utf-8"))
        except (ValueError, RecursionError):
            raise Mistake(f"{CONFIG_NAME} of {folder} is not JSON") from None
        config, weights = checked(GeneratorConfig, content), Path(folder) / SAFETENSORS_SINGLE_FILE
        require_sizes(generators.parameters(config.name, config.size, config.read, config.classes, 0), str(weights))
        generator = cls(config)
        try:
            state = read_safetensors(weights)
            generator.network.load_state_dict(state)
        except (ValueError, RuntimeError) as error:
            reason = str(error).partition("\n")[0]
            raise Trouble(f"{weights} is damaged or does not fit its {CONFIG_NAME}: {reason}") from None
        if not all(tensor.isfinite().all() for tensor in state.values()):
            raise Trouble(f"{weights} has weights that are NaN or infinite")
        return generator
