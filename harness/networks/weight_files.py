"""Files of weights that come with no package: where they are looked for and how they are read.

Nothing here downloads. A file is looked for in the folder that TOKENIZER_WEIGHTS names, `weights` by default, then in
caches that other programs fill: that of the Hugging Face hub, that of torch's hub.
"""

from __future__ import annotations

import hashlib
import os
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from harness.system.errors import Mistake

if TYPE_CHECKING:
    from torch import Tensor

FOLDER_VARIABLE = "TOKENIZER_WEIGHTS"
IN_HUB = "model.safetensors"  # the file of a repository that is looked at


@dataclass(frozen=True)
class WeightsFile:
    """Whose weights they are, the names they are looked for by in folders, what they are upstream.

    `hub` is the repository of the Hugging Face hub that has them as model.safetensors; else `command` fetches them,
    where one does. `option` of `harness.evaluate` gives them, where they are of a network that measures.
    """

    of: str
    names: tuple[str, ...]
    upstream: str
    hub: str = ""
    command: str = ""
    option: str = ""

    def find(self, given: Path | None = None, *more_folders: Path) -> Path:
        """`given`, else the first of the names in the folder of weights or in `more_folders`, else that of the hub."""
        if given is not None:
            if given.is_file():
                return given
            raise Mistake(f"the weights of {self.of} are missing: {given} is not a file; it should be {self.upstream}")
        folders = [Path(os.environ.get(FOLDER_VARIABLE) or "weights"), *more_folders]
        for path in (folder / name for folder in folders for name in self.names):
            if path.is_file():
                return path
        cached = _in_hub_cache(self.hub) if self.hub else None
        if cached is None:
            raise Mistake(self._missing(folders))
        return cached

    def _missing(self, folders: list[Path]) -> str:
        names, places = (" or ".join(map(str, some)) for some in (self.names, folders))
        looked = f"no {names} in folder {places}"
        ways = [f"put {self.upstream} in that folder by that name ({FOLDER_VARIABLE} names another folder)"]
        command = self.command
        if self.hub:
            looked += f", no {self.hub} in {_hub_cache()}"
            command = f"hf download {self.hub} {IN_HUB}"
        if command:
            ways.insert(0, f"`{command}` fetches them")
        if self.option:
            ways.append(f"give them to harness.evaluate by {self.option} FILE")
        return f"the weights of {self.of} are missing: {looked}; {', or '.join(ways)}"

    def read(self, path: Path) -> dict[str, Tensor]:
        """The tensors in a file by their names; no code in it is run. Raises `Mistake` where it holds anything else."""
        import torch
        from safetensors.torch import load_file

        try:
            if path.suffix == ".safetensors":
                return load_file(path)
            held = torch.load(path, map_location="cpu", weights_only=True)
        # Readers raise all kinds of errors for damaged files, and torch's advises to run what is in the file.
        except Exception as error:
            raise self._unfit(path, f"it is damaged or holds more than tensors ({type(error).__name__})") from error
        if not isinstance(held, dict) or not all(
            isinstance(key, str) and torch.is_tensor(value) for key, value in held.items()
        ):
            raise self._unfit(path, "it does not hold tensors by their names")
        return held

    @contextmanager
    def fitting(self, path: Path) -> Iterator[None]:
        """Within it the tensors of a file are put into the network: where they do not fit it raises `Mistake`."""
        try:
            yield
        except (RuntimeError, IndexError, ArithmeticError) as error:
            # After the first line, which names a class, torch lists every tensor that does not fit.
            why = " ".join(str(error).partition("\n")[2].split()) or str(error)
            raise self._unfit(path, textwrap.shorten(why, 200, placeholder=" ...")) from error

    def _unfit(self, path: Path, why: str) -> Mistake:
        return Mistake(f"{path} is not {self.upstream}, the weights of {self.of}: {why}")


def _dinov2(letter: str, size: str) -> WeightsFile:
    name, hub = f"dinov2_vit{letter}14", f"timm/vit_{size}_patch14_dinov2.lvd142m"
    return WeightsFile(
        f"DINOv2 ViT-{letter.upper()}/14",
        (f"{name}.safetensors", f"{name}.pth", f"{name}_pretrain.pth"),
        f"{IN_HUB} of {hub} on the Hugging Face hub (or DINOv2's own {name}_pretrain.pth)",
        hub,
    )


DINOV2 = {f"dinov2_vit{size[0]}14": _dinov2(size[0], size) for size in ("small", "base", "large")}
DINO = WeightsFile(
    "DINO ViT-S/16",
    ("dino_vits16.safetensors", "dino_vits16.pth", "dino_deitsmall16_pretrain.pth"),
    f"{IN_HUB} of timm/vit_small_patch16_224.dino on the Hugging Face hub (or DINO's own "
    "dino_deitsmall16_pretrain.pth)",
    "timm/vit_small_patch16_224.dino",
)


VGG = WeightsFile(
    "LPIPS (the VGG-16 trunk)",
    ("vgg16-397923af.pth",),
    "torchvision's vgg16-397923af.pth",
    command="python -c \"from torchvision.models import vgg16; vgg16(weights='IMAGENET1K_V1')\"",
    option="--lpips-weights",
)
INCEPTION = WeightsFile(
    "Inception-v3 (TensorFlow 2015-12-05)",
    ("weights-inception-2015-12-05-6726825d.pth",),
    "torch-fidelity's release file weights-inception-2015-12-05-6726825d.pth",
    option="--weights",
)


def short_checksum(path: Path) -> str:
    """The first 12 hexadecimal digits of the SHA-256 of a file, which is read again only where it has changed."""
    stat = path.stat()
    return _checksum(path.resolve(), stat.st_size, stat.st_mtime_ns)


@cache
def _checksum(path: Path, size: int, mtime_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


def _hub_cache() -> str:
    from huggingface_hub import constants

    return constants.HF_HUB_CACHE


def _in_hub_cache(repository: str) -> Path | None:
    """The file of a repository that was downloaded before; this asks no network."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, IN_HUB, cache_dir=_hub_cache())
    return Path(found) if isinstance(found, str) else None  # else it was never asked for, or known to be absent
