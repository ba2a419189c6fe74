"""Finds and reads files of weights that come with no package.

Nothing is downloaded. The folder that TOKENIZER_WEIGHTS names (default: `weights`) is searched first, then the caches
of the Hugging Face hub and of torch's hub, which other programs fill.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING

from harness.networks.tensor_files import read_safetensors, read_state
from harness.system.errors import Mistake

if TYPE_CHECKING:
    from torch import Tensor

FOLDER_VARIABLE = "TOKENIZER_WEIGHTS"
CHECKSUM_IN_NAME = re.compile("-([0-9a-f]{8,12})$")  # the first digits of the SHA-256, as in files of torch hub
IN_HUB = "model.safetensors"  # the weights in a repository of the hub


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights: its network (`of`), its possible file names, and its description at the source (`upstream`).

    `hub` is the repository of the Hugging Face hub that has the weights as model.safetensors. Otherwise `command`
    fetches them, if not empty. `option` is the option of `harness.evaluate` that names the file of a measure.
    `sha256` has the first digits of the checksum of the published file.
    """

    of: str
    names: tuple[str, ...]
    upstream: str
    hub: str = ""
    command: str = ""
    option: str = ""
    sha256: str = ""

    def find(self, given: Path | None = None, *more_folders: Path) -> Path:
        """The path `given`, else the first file in the folder of weights or `more_folders`, else in the hub's cache.

        Raises `Mistake` if there is none.
        """
        if given is not None:
            if given.is_file():
                return given
            raise Mistake(f"the weights of {self.of} are missing: {given} is not a file; needed is {self.upstream}")
        folders = [Path(os.environ.get(FOLDER_VARIABLE) or "weights"), *more_folders]
        for path in (folder / name for folder in folders for name in self.names):
            if path.is_file():
                return path
        cached = _in_hub_cache(self.hub) if self.hub else None
        if cached is None:
            raise Mistake(self._missing(folders))
        return cached

    def _missing(self, folders: list[Path]) -> str:
        names, searched = (" or ".join(map(str, paths)) for paths in (self.names, folders))
        problem = f"no {names} in folder {searched}"
        remedies = [f"put it into that folder under that name ({FOLDER_VARIABLE} sets another folder)"]
        command = self.command
        if self.hub:
            problem += f", no {self.hub} in {_hub_cache()}"
            command = f"hf download {self.hub} {IN_HUB}"
        if command:
            remedies.insert(0, f"fetch it with `{command}`")
        if self.option:
            remedies.append(f"pass it to harness.evaluate with {self.option} FILE")
        return f"the weights of {self.of} are missing: {problem}. The file is {self.upstream}: {', or '.join(remedies)}"

    def other(self, path: Path) -> str:
        """Six digits of the checksum of a file of other weights, whatever its name; "" if they are the published ones.

        These are known by their checksum, or by their place in the hub's cache.
        """
        digits = short_checksum(path)
        published = self.sha256 and digits.startswith(self.sha256)
        return "" if published or self._is_cached(path, digits) else digits[:6]

    def _is_cached(self, path: Path, digits: str) -> bool:
        """Whether a file lies in the hub's cache of its repository, where a file has its checksum as its name."""
        if not self.hub:
            return False
        blobs = Path(_hub_cache(), f"models--{self.hub.replace('/', '--')}", "blobs")
        real = path.resolve()
        return real.parent == blobs.resolve() and real.name.startswith(digits)

    def described(self, path: Path) -> str:
        """The weights in a file, for protocols."""
        return f"{'other ' * bool(self.other(path))}weights {short_checksum(path)}"

    def read(self, path: Path) -> dict[str, Tensor]:
        """The named tensors in a file; no code in it is run. Raises `Mistake` if the file holds anything else."""
        import torch

        named = CHECKSUM_IN_NAME.search(path.stem)
        if named and (begins := short_checksum(path)[: len(named[1])]) != named[1]:
            raise self._unfit(path, f"its SHA-256 begins with {begins}, not with {named[1]} as its name says")
        try:
            if path.suffix == ".safetensors":
                tensors = read_safetensors(path)
            else:
                with path.open("rb") as file:
                    tensors = read_state(file)
        except ValueError as error:
            raise self._unfit(path, str(error)) from error
        if not isinstance(tensors, dict) or not all(
            isinstance(key, str) and torch.is_tensor(value) for key, value in tensors.items()
        ):
            raise self._unfit(path, "it does not hold named tensors")
        for name, tensor in tensors.items():
            if not tensor.isfinite().all():
                raise self._unfit(path, f"{shorten(name, 50)} has values that are NaN or infinite")
        return tensors

    @contextmanager
    def fitting(self, path: Path) -> Iterator[None]:
        """A context for loading the tensors of a file into a network. Raises `Mistake` if they do not fit."""
        try:
            yield
        except (RuntimeError, IndexError, ArithmeticError) as error:
            # The first line names a class; the next lines list every tensor that does not fit.
            why = " ".join(str(error).partition("\n")[2].split()) or str(error)
            raise self._unfit(path, shorten(why, 200, placeholder=" ...")) from error

    def _unfit(self, path: Path, why: str) -> Mistake:
        return Mistake(f"{path} is not {self.upstream}, the weights of {self.of}: {why}")


def _dinov2(size: str, sha256: str) -> WeightsFile:
    letter = size[0]
    name, hub = f"dinov2_vit{letter}14", f"timm/vit_{size}_patch14_dinov2.lvd142m"
    return WeightsFile(
        f"DINOv2 ViT-{letter.upper()}/14",
        (f"{name}.safetensors", f"{name}.pth", f"{name}_pretrain.pth"),
        f"{IN_HUB} of {hub} on the Hugging Face hub (or DINOv2's own {name}_pretrain.pth)",
        hub,
        sha256=sha256,
    )


DINOV2 = {  # with the checksums of DINOv2's own files
    "dinov2_vits14": _dinov2("small", "b938bf1bc15c"),
    "dinov2_vitb14": _dinov2("base", "0b8b82f85de9"),
    "dinov2_vitl14": _dinov2("large", "d5383ea8f487"),
}
DINO = WeightsFile(
    "DINO ViT-S/16",
    ("dino_vits16.safetensors", "dino_vits16.pth", "dino_deitsmall16_pretrain.pth"),
    f"{IN_HUB} of timm/vit_small_patch16_224.dino on the Hugging Face hub (or DINO's own "
    "dino_deitsmall16_pretrain.pth)",
    "timm/vit_small_patch16_224.dino",
)


VGG = WeightsFile(
    "LPIPS (the VGG-16 trunk)",
    ("vgg16-397923af.pth", "vgg16.pth"),
    "torchvision's vgg16-397923af.pth",
    command="python -c \"from torchvision.models import vgg16; vgg16(weights='IMAGENET1K_V1')\"",
    option="--lpips-weights",
    sha256="397923af",
)
INCEPTION = WeightsFile(
    "Inception-v3 (TensorFlow 2015-12-05)",
    ("weights-inception-2015-12-05-6726825d.pth", "inception.pth"),
    "torch-fidelity's release file weights-inception-2015-12-05-6726825d.pth",
    option="--weights",
    sha256="6726825d",
)


def short_checksum(path: Path) -> str:
    """The first 12 hexadecimal digits of the SHA-256 of a file. An unchanged file is read only once."""
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
    """The path of a file that was downloaded before; this uses no network."""
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(repository, IN_HUB, cache_dir=_hub_cache())
    return Path(path) if isinstance(path, str) else None  # otherwise not in the cache, or known to be absent
