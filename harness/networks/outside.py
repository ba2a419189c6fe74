"""Tokenizers from outside: anybody's object that encodes and decodes is measured like a row of our own.

The object has two methods, for batches of images (B, 3, S, S), float32 in [-1, 1], S the image size of the scale:

    encode(images) -> latents      (B, L, Z), or (B, Z, h, w) if they lie on a grid
    decode(latents) -> images      of the same form as its own latents; clipped to [-1, 1]

Both get torch tensors on the machine's device, copies of their own, and may return torch tensors or NumPy arrays;
images have to be floating point, not NaN, and not far outside of [-1, 1]. The object is not trained. Draws of torch,
NumPy and Python are the same in every call, and global settings that a call changes are set back after it. It is named
FILE.py:NAME or MODULE:NAME, where NAME is the object or something that makes it when it is called, with =ARGUMENT if it
takes one (a text, such as a file of weights). An installed package gives its objects names of their own by entry points
of the group tokenizer_harness.tokenizers. An object may have `files`, a list of files that decide what it does, and
`weights`, their number of parameters. Its key is the hash of its Python file and of those beside it that it imports, of
these files, and of ARGUMENT if that is a file or a folder.

`python -m harness.networks.outside SOURCE SIDE` tries an object and prints what it saw, as JSON: a request does so in a
process of its own, so that whatever the object does ends there.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import math
import operator
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.experiments.outside_rows import PUBLISHED, SOURCE
from harness.system import guests
from harness.system.environment import CHECKOUT
from harness.system.errors import Mistake, Trouble
from harness.system.files import checksum
from models import config
from models.config.outside import MOST_WEIGHTS
from models.forms import Latents

if TYPE_CHECKING:
    from torch import Tensor

    from models.autoencoders.tokenizer import Tokenizer

ENTRY_POINTS = "tokenizer_harness.tokenizers"  # their group
TRIED = 2  # images
# A decoder may overshoot [-1, 1], far more on noise than on images. Pixel values of 0 to 255 lie beyond FAR in most
# places; of a network with images in [-1, 1], a tenth never does.
FAR, MOST_FAR = 10, 0.1
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
    offered = installed()
    name, equals, argument = source.partition("=")
    whole = f"{offered[name]}{equals}{argument}" if name in offered else source
    if (found := SOURCE.fullmatch(whole)) is None:
        names = f" or a name of an installed package ({', '.join(offered)})" if offered else ""
        needed = f"FILE.py:NAME or MODULE:NAME{names} is needed, with =ARGUMENT if NAME takes one"
        raise Mistake(f"--tokenizer {source}: {needed}, or the folder or OWNER/NAME of a published tokenizer")
    return _Parts(**found.groupdict())


def absolute(given: str) -> str:
    """The source of a tokenizer that a user names, with absolute paths of its file, and of ARGUMENT if it is one.

    A folder and OWNER/NAME are those of a published tokenizer of this project. Raises `Mistake`.
    """
    source = f"{PUBLISHED}={given}" if _is_published(given) else given
    place, name, argument = _parts(source)
    named = source.partition("=")[0]
    if os.path.isfile(place) and not place.endswith(".py"):
        raise Mistake(f"--tokenizer {source}: {place} is not a Python file")
    if place.endswith(".py"):
        if not os.path.isfile(os.path.expanduser(place)):
            raise Mistake(f"--tokenizer {source}: there is no file {place}")
        named = f"{Path(place).expanduser().absolute()}:{name}"
    if argument and os.path.exists(os.path.expanduser(argument)):  # it may be too long for a path
        argument = str(Path(argument).expanduser().absolute())
    return named + (f"={argument}" if argument is not None else "")


def _is_published(given: str) -> bool:
    if given.partition("=")[0] in installed():
        return False
    of_hub = given.count("/") == 1 and ":" not in given and not given.endswith(".py")
    return of_hub or os.path.isdir(os.path.expanduser(given))


class Found(NamedTuple):
    """An object, the folder of its file if it has one of its own, and what stands for its files."""

    object: Any
    folder: Path | None
    sha256: str


def load(source: str) -> Found:
    """The object. Raises `Trouble` for whatever goes wrong in its code."""
    place, name, argument = _parts(source)
    folder = Path(place).parent if place.endswith(".py") else None
    with _told(source, "loading it", folder):
        if folder is None:
            module = importlib.import_module(place)
        else:
            module = guests.module_of(Path(place), f"outside_{Path(place).stem}")
        if not hasattr(module, name):
            raise AttributeError(f"it has no {name}; it has {', '.join(n for n in vars(module) if n[0].isupper())}")
        found = getattr(module, name)
        if argument is not None:
            found = found(argument)
        elif not hasattr(found, "encode") or isinstance(found, type):
            found = found()
        for method in ("encode", "decode"):
            if not callable(getattr(found, method, None)):
                raise TypeError(f"it has no method {method}")
        own = getattr(found, "files", ())
        if isinstance(own, str | bytes | os.PathLike):
            raise TypeError("files is one path: a list of paths is needed")
        file = Path(str(module.__file__))
        files = [file, *(guests.beside(file) if folder is not None else []), *map(Path, own)]
        files += [Path(argument)] if argument and os.path.exists(argument) else []
        return Found(found, folder, _checksum(files, name, argument or ""))


def _checksum(places: list[Path], name: str, argument: str) -> str:
    """16 digits for what is named in which files and folders, by their own names without their places."""
    digest = hashlib.sha256(f"{name}={'' if os.path.exists(argument) else argument}\n".encode(errors="replace"))
    for place in places:
        inside = sorted(path for path in place.rglob("*") if path.is_file()) if place.is_dir() else [place]
        for path in inside:
            digest.update(f"{path.relative_to(place) if path != place else path.name} {checksum(path)}\n".encode())
    return digest.hexdigest()[:16]


@contextlib.contextmanager
def _told(source: str, doing: str, folder: Path | None) -> Iterator[None]:
    """A context for somebody else's code, in which any error is one line: `Trouble`.

    What lies in `folder` can be imported. Prints go to standard error.
    """
    try:
        beside = guests.neighbours(folder) if folder is not None else contextlib.nullcontext()
        with guests.undisturbed(), beside, contextlib.redirect_stdout(sys.stderr):
            yield
    except (Trouble, Mistake) as error:
        raise Trouble(str(error) if source in str(error) else f"{source}: {error}") from error
    except (Exception, SystemExit) as error:
        file = Path(_parts(source)[0])
        why = " ".join(str(error).split())[:300].replace(f"outside_{file.stem}", file.name)
        raise Trouble(f"{source}: {doing} failed: {type(error).__name__}: {why}") from error


def wrapped(tokenizer: config.Tokenizer, image_size: int) -> Tokenizer:
    """The object as a tokenizer of ours. Raises `Trouble` if its files are others than when it was named."""
    outside = tokenizer.outside
    found = load(outside.source)
    if outside.sha256 and found.sha256 != outside.sha256:
        raise Trouble(f"{outside.source} or its files have changed since the request: make it again")
    form = Latents(tokenizer.tokens, tokenizer.channels, outside.side)
    return _wrapped(found, outside.source, form, image_size)


def _wrapped(found: Found, source: str, form: Latents, image_size: int, limit: float = 1) -> Tokenizer:
    """The object as a tokenizer of ours, whose images are clipped to [-limit, limit]."""
    import numpy as np
    import torch

    from models.autoencoders.posterior import Posterior
    from models.autoencoders.tokenizer import Tokenizer
    from models.layers.precision import float32

    own = (form.tokens, form.channels) if form.side is None else (form.channels, form.side, form.side)
    pixels = (3, image_size, image_size)

    def tensor(values: Any, what: str, like: Tensor, shape: tuple[int, ...]) -> Tensor:
        """A copy of what the object returned, which may be a buffer that it fills again. Raises for a wrong one."""
        made = _array(values)
        if tuple(made.shape) != (len(like), *shape):
            raise ValueError(f"{what} are {tuple(made.shape)}, not {(len(like), *shape)}")
        made = torch.from_numpy(np.array(made)) if isinstance(made, np.ndarray) else made
        if made.is_complex() or (what == "images" and not made.is_floating_point()):
            raise ValueError(f"{what} are {str(made.dtype).removeprefix('torch.')}: floating point is needed")
        made = made.detach().to(like.device, torch.float32, copy=True)
        if made.isnan().any() or (what == "latents" and made.isinf().any()):
            raise ValueError(f"{what} are not finite")
        return made

    class Wrapped(Tokenizer):
        """Latents on a grid are (B, h w, Z) outside of the object, and (B, Z, h, w) for it."""

        side = form.side or 0
        quantiser = None

        @torch.no_grad()
        def encode(self, x: Tensor, mask: Tensor | None = None) -> Posterior:
            with _told(source, "encode", found.folder), float32(x):
                z = tensor(found.object.encode(x.to(torch.float32, copy=True)), "latents", x, own)
                return Posterior(z.flatten(2).mT.contiguous() if z.ndim == 4 else z, None)

        @torch.no_grad()
        def decode(self, z: Tensor, mask: Tensor | None = None) -> Tensor:
            with _told(source, "decode", found.folder), float32(z):
                given = z if form.side is None else z.mT.unflatten(2, (form.side, form.side))
                x = tensor(found.object.decode(given.to(torch.float32, copy=True)), "images", z, pixels)
                return x.clamp(-limit, limit)

        def decoder_parameters(self) -> list[Any]:
            return []

        @property
        def last_layer(self) -> Tensor:
            raise NotImplementedError("a tokenizer from outside is not trained")

        last_of_encoder = last_layer

    return Wrapped()


def _array(values: Any) -> Any:
    """A torch tensor or NumPy array. Raises TypeError for anything else."""
    import numpy as np
    import torch

    if not isinstance(values, torch.Tensor | np.ndarray):
        raise TypeError(f"it returns {type(values).__name__}, neither a torch tensor nor a NumPy array")
    return values


def seen(source: str, image_size: int) -> Seen:
    """Tries the object on two images, in this process. Raises `Trouble`."""
    import torch

    found = load(source)
    x = torch.rand(TRIED, 3, image_size, image_size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with _told(source, "encode", found.folder), torch.no_grad():
        form = _form(tuple(_array(found.object.encode(x.clone())).shape))
        weights = operator.index(getattr(found.object, "weights", 0))
        if not 0 <= weights <= MOST_WEIGHTS:
            raise ValueError(f"weights is {weights}: from 0 to {MOST_WEIGHTS:,}")
    network = _wrapped(found, source, form, image_size, math.inf)
    images = network.decode(network.encode(x).mean)
    with _told(source, "decode", found.folder):
        _require_range(images)
    return Seen(*form, found.sha256, weights)


def _require_range(images: Tensor) -> None:
    """Raises ValueError for images that are clearly not in [-1, 1], such as pixel values from 0 to 255."""
    if (images.abs() > FAR).float().mean() > MOST_FAR:
        low, high = images.aminmax()
        raise ValueError(f"images span [{low:.4g}, {high:.4g}]: values in [-1, 1] are needed")


def _form(shape: tuple[int, ...]) -> Latents:
    """The form of latents of this shape. Raises ValueError for one that latents of the images tried cannot have."""
    if len(shape) not in (3, 4) or shape[0] != TRIED or 0 in shape:
        raise ValueError(f"latents are {shape}: ({TRIED}, L, Z) or ({TRIED}, Z, h, w) is needed")
    if len(shape) == 3:
        return Latents(*shape[1:])
    if shape[2] != shape[3]:
        raise ValueError(f"latents are {shape}: their grid has to be square")
    return Latents(shape[2] ** 2, shape[1], shape[2])


def tried(source: str, image_size: int) -> Seen:
    """Tries the object in a process of its own. Raises `Mistake` with the reason in one line."""
    words = [sys.executable, "-m", "harness.networks.outside", source, str(image_size)]
    # The working folder comes last: MODULE may lie there, and nothing there hides our packages.
    paths = [str(CHECKOUT), *filter(None, [os.environ.get("PYTHONPATH")]), os.getcwd()]
    surroundings = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"}
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            timeout=PATIENCE_SECONDS,
            env=surroundings,
        )
    except subprocess.TimeoutExpired:
        raise Mistake(f"--tokenizer {source}: two images took longer than {PATIENCE_SECONDS} s") from None
    answer = json.loads(done.stdout) if done.stdout else None
    if isinstance(answer, dict):
        return Seen(**answer)
    reason = answer or done.stderr.strip().rpartition("\n")[2] or f"the process ended with status {done.returncode}"
    raise Mistake(f"--tokenizer {reason if source in reason else f'{source}: {reason}'}")


def _answer(source: str, image_size: str) -> dict[str, Any] | str:
    """What was seen of an object, or what went wrong."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return seen(source, int(image_size))._asdict()
        except (Trouble, Mistake) as trouble:
            return str(trouble)


if __name__ == "__main__":
    with os.fdopen(os.dup(1), "w") as file:
        os.dup2(2, 1)  # what the object prints is no answer
        file.write(json.dumps(_answer(*sys.argv[1:])))
    os._exit(0)  # its threads and its last words do not count
