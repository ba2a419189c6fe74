"""Tokenizers from outside: anybody's object that encodes and decodes is measured like a row of our own.

The object has two methods, for batches of images (B, 3, S, S), float32 in [-1, 1], S the image size of the scale:

    encode(images) -> latents      (B, L, Z), or (B, Z, h, w) if they lie on a grid
    decode(latents) -> images      of the same form as its own latents; clipped to [-1, 1]

Both get torch tensors on the machine's device and may return torch tensors or NumPy arrays. The object is not trained,
and random draws are its own affair: equal images should have equal latents. It is named FILE.py:NAME or MODULE:NAME,
where NAME is the object or something that makes it when it is called, with =ARGUMENT if it takes one (a text, such as a
file of weights). An installed package gives its objects names of their own by entry points of the group
tokenizer_harness.tokenizers. An object may have `files`, a list of files that decide what it does, and `weights`, their
number of parameters. Its key is the hash of its Python file, of these files, and of ARGUMENT if that is a file or a
folder.

`python -m harness.networks.outside SOURCE SIDE` tries an object and prints what it saw, as JSON: a request does so in a
process of its own, so that whatever the object does ends there.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.system.environment import CHECKOUT
from harness.system.errors import Mistake, Trouble
from models.config import Outside

if TYPE_CHECKING:
    from torch import Tensor

    from models.autoencoders.tokenizer import Tokenizer

ENTRY_POINTS = "tokenizer_harness.tokenizers"  # their group
TRIED = 2  # images
PATIENCE_SECONDS = 600


class Seen(NamedTuple):
    """What a trial of an object saw: its latents' tokens, channels and side, and what stands for its files."""

    tokens: int
    channels: int
    side: int | None
    sha256: str
    weights: int


class _Parts(NamedTuple):
    place: str
    name: str
    argument: str | None


def installed() -> dict[str, str]:
    """The objects that installed packages offer, MODULE:NAME by the name of their entry point."""
    return {point.name: f"{point.module}:{point.attr}" for point in entry_points(group=ENTRY_POINTS)}


def _parts(source: str) -> _Parts:
    """The parts of FILE.py:NAME=ARGUMENT, or of what an entry point stands for. Raises `Mistake`."""
    named, equals, argument = source.partition("=")
    offered = installed()
    place, colon, name = offered.get(named, named).rpartition(":")
    if not (colon and place and name.isidentifier()):
        names = f" or a name of an installed package ({', '.join(offered)})" if offered else ""
        needed = f"FILE.py:NAME or MODULE:NAME{names} is needed, with =ARGUMENT if NAME takes one"
        raise Mistake(f"--tokenizer {source}: {needed}")
    return _Parts(place, name, argument if equals else None)


def absolute(source: str) -> str:
    """The source with its file as an absolute path, and ARGUMENT too if there is such a file. Raises `Mistake`."""
    place, name, argument = _parts(source)
    named = source.partition("=")[0]
    if place.endswith(".py"):
        if not Path(place).expanduser().is_file():
            raise Mistake(f"--tokenizer {source}: there is no file {place}")
        named = f"{Path(place).expanduser().absolute()}:{name}"
    if argument and Path(argument).expanduser().exists():
        argument = str(Path(argument).expanduser().absolute())
    return named + (f"={argument}" if argument is not None else "")


def load(source: str) -> tuple[Any, str]:
    """The object and what stands for its files. Raises `Trouble` for whatever goes wrong in its code."""
    place, name, argument = _parts(source)
    with _told(source, "loading it"):
        if place.endswith(".py"):
            file = Path(place)
            spec = importlib.util.spec_from_file_location(f"outside_{file.stem}", file)
            assert spec is not None and spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = module
            sys.path.insert(0, str(file.parent))  # it may import its neighbours
            try:
                spec.loader.exec_module(module)
            finally:
                sys.path.remove(str(file.parent))
        else:
            module = importlib.import_module(place)
            file = Path(str(module.__file__))
        found = getattr(module, name)
        if argument is not None:
            found = found(argument)
        elif not hasattr(found, "encode") or isinstance(found, type):
            found = found()
        for method in ("encode", "decode"):
            if not callable(getattr(found, method, None)):
                raise TypeError(f"it has no method {method}")
        files = [file, *map(Path, getattr(found, "files", ()))]
        files += [Path(argument)] if argument and Path(argument).exists() else []
        return found, _checksum(files, name, argument or "")


def _checksum(places: list[Path], name: str, argument: str) -> str:
    """16 digits for what is named in which files and folders, by their own names without their places."""
    digest = hashlib.sha256(f"{name}={'' if Path(argument).exists() else argument}\n".encode())
    for place in places:
        inside = sorted(path for path in place.rglob("*") if path.is_file()) if place.is_dir() else [place]
        for path in inside:
            with path.open("rb") as file:
                digest.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()[:16]


@contextlib.contextmanager
def _told(source: str, doing: str) -> Iterator[None]:
    """A context in which any error of somebody else's code is one line: `Trouble`."""
    try:
        yield
    except Trouble:
        raise
    except Exception as error:
        why = " ".join(str(error).split())[:300]
        raise Trouble(f"{source}: {doing} failed: {type(error).__name__}: {why}") from error


def wrapped(outside: Outside) -> Tokenizer:
    """The object as a tokenizer of ours. Raises `Trouble` if its files are others than when it was named."""
    found, checksum = load(outside.source)
    if outside.sha256 and checksum != outside.sha256:
        raise Trouble(f"{outside.source} or its files have changed since the request: make it again")
    return _wrapped(found, outside)


def _wrapped(found: Any, outside: Outside) -> Tokenizer:
    import numpy as np
    import torch

    from models.autoencoders.posterior import Posterior
    from models.autoencoders.tokenizer import Tokenizer
    from models.layers.precision import float32

    def tensor(values: Any, like: Tensor) -> Tensor:
        made = torch.from_numpy(np.ascontiguousarray(values)) if isinstance(values, np.ndarray) else values
        if not isinstance(made, torch.Tensor):
            raise TypeError(f"it returns {type(values).__name__}, neither a torch tensor nor a NumPy array")
        return made.detach().to(like.device, torch.float32)

    class Wrapped(Tokenizer):
        """Latents on a grid are (B, h w, Z) outside of the object, and (B, Z, h, w) for it."""

        side = outside.side or 0
        quantiser = None

        @torch.no_grad()
        def encode(self, x: Tensor, mask: Tensor | None = None) -> Posterior:
            with _told(outside.source, "encode"), float32(x):
                z = tensor(found.encode(x.float()), x)
                if z.ndim not in (3, 4) or len(z) != len(x):
                    raise ValueError(f"latents are {tuple(z.shape)}: (B, L, Z) or (B, Z, h, w) is needed")
                if not z.isfinite().all():
                    raise ValueError("latents are not finite")
                return Posterior(z.flatten(2).mT.contiguous() if z.ndim == 4 else z, None)

        @torch.no_grad()
        def decode(self, z: Tensor, mask: Tensor | None = None) -> Tensor:
            with _told(outside.source, "decode"), float32(z):
                own = z.float() if outside.side is None else z.float().mT.unflatten(2, (outside.side, -1))
                x = tensor(found.decode(own), z)
                if x.ndim != 4 or x.shape[:2] != (len(z), 3):
                    raise ValueError(f"images are {tuple(x.shape)}: ({len(z)}, 3, S, S) is needed")
                return x.nan_to_num().clamp(-1, 1)

        def decoder_parameters(self) -> list[Any]:
            return []

        @property
        def last_layer(self) -> Tensor:
            raise NotImplementedError("a tokenizer from outside is not trained")

        last_of_encoder = last_layer

    return Wrapped()


def seen(source: str, image_size: int) -> Seen:
    """Tries the object on two images, in this process. Raises `Trouble`."""
    import torch

    found, checksum = load(source)
    x = torch.rand(TRIED, 3, image_size, image_size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with _told(source, "encode"), torch.no_grad():
        z = torch.as_tensor(found.encode(x))
    side = None
    if z.ndim == 4:
        side = int(z.shape[2])
        if z.shape[2] != z.shape[3]:
            raise Trouble(f"{source}: latents are {tuple(z.shape)}: their grid has to be square")
    outside = Outside(on=True, source=source, sha256=checksum, side=side)
    network = _wrapped(found, outside)
    latents = network.encode(x).mean
    images = network.decode(latents)
    if images.shape != x.shape:
        raise Trouble(f"{source}: images are {tuple(images.shape)} after decoding, not {tuple(x.shape)}")
    weights = getattr(found, "weights", 0)
    return Seen(latents.shape[1], latents.shape[2], side, checksum, weights if isinstance(weights, int) else 0)


def tried(source: str, image_size: int) -> Seen:
    """Tries the object in a process of its own. Raises `Mistake` with the reason in one line."""
    words = [sys.executable, "-m", "harness.networks.outside", source, str(image_size)]
    # The working folder comes last: MODULE may lie there, and nothing there hides our packages.
    paths = [str(CHECKOUT), *filter(None, [os.environ.get("PYTHONPATH")]), os.getcwd()]
    surroundings = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"}
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS, env=surroundings
        )
    except subprocess.TimeoutExpired:
        raise Mistake(f"--tokenizer {source}: two images took longer than {PATIENCE_SECONDS} s") from None
    line = done.stdout.strip().rpartition("\n")[2]
    if done.returncode == 0:
        return Seen(**json.loads(line))
    reason = done.stderr.strip().rpartition("\n")[2] or f"the process ended with status {done.returncode}"
    raise Mistake(f"--tokenizer {reason if source in reason else f'{source}: {reason}'}")


def _lines(arguments: list[str]) -> Iterator[str]:
    source, image_size = arguments
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield json.dumps(seen(source, int(image_size))._asdict())


if __name__ == "__main__":
    try:
        print(*_lines(sys.argv[1:]))
    except (Trouble, Mistake) as trouble:
        sys.exit(str(trouble))
