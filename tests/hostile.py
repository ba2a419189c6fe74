"""Files that somebody made to do harm, and everything in the project that reads weights, states or arrays from files.

`python -m tests.hostile FOLDER` gives every file that `make` wrote to every reader that takes its format, and prints a
line of JSON for each: the file, the reader, the error, and by how many MiB the largest memory of the process grew.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import pickle
import resource
import struct
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

from harness import convert
from harness.data.image_sets import open_images
from harness.evaluation import components, reference
from harness.evaluation.feature_cache import ABOUT, SeenImages, look
from harness.hub.tokenizer import PretrainedTokenizer
from harness.latents.shards import Latents
from harness.latents.statistics import STATISTICS, load_statistics
from harness.networks import weights
from harness.networks.frozen import LITE, Outputs
from harness.networks.weight_files import DINO, DINOV2, INCEPTION, VGG
from harness.store.runs import Run
from harness.system.errors import Mistake, Trouble
from harness.system.files import fingerprint, read_json, write_json
from harness.training import checkpoints
from tests.hub.released.sit import sit_on_a_line
from tests.hub.tokenizers import EXPERIMENT, fresh

MIB = 2**20
BOMB = 512 * MIB  # what a bomb unpacks to
GIGABYTES = 4 * 2**30
RAN = "ran"  # the folder that code in a file makes
MADE = "made"  # the folder that `harness.convert` is to write
MANY = 10_000
EMPTY = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}  # in a header of safetensors


class Code:
    """Unpickled, it makes a folder."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __reduce__(self) -> tuple[Callable, tuple[str]]:
        return os.mkdir, (str(self.folder),)


class Array:
    """Unpickled, it takes gigabytes, by something that torch calls safe."""

    def __reduce__(self) -> tuple[Callable, tuple[int]]:
        return bytearray, (GIGABYTES,)


class Copy:
    """Unpickled, it copies a list that is stored once."""

    def __init__(self, pairs: list):
        self.pairs = pairs

    def __reduce__(self) -> tuple[Callable, tuple[list]]:
        return OrderedDict, (self.pairs,)


class Longer:
    """Unpickled, it is a tensor that is longer than what is stored for it."""

    def __reduce__(self) -> tuple[Callable, tuple]:
        stored = torch.ones(3)
        storage = torch.storage.TypedStorage(wrap_storage=stored.untyped_storage(), dtype=stored.dtype, _internal=True)
        return torch._utils._rebuild_tensor_v2, (storage, 0, (GIGABYTES,), (1,), False, OrderedDict())


# Files


def _torch(content: object, old: bool = False) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=not old)
    return file.getvalue()


def _bomb(archive: bytes, zeros: str, count: int = BOMB) -> bytes:
    """The members of a zip archive, compressed, with zeros after what is in the member called `zeros`."""
    packed = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(archive)) as old,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as new,
    ):
        for member in old.infolist():
            with new.open(member.filename, "w", force_zip64=True) as file:
                file.write(old.read(member))
                for _ in range(count // MIB if member.filename.endswith(zeros) else 0):
                    file.write(bytes(MIB))
    return packed.getvalue()


def _torch_bomb() -> bytes:
    """A tensor whose storage has as many zeros as its file says."""
    small = _torch({"w": torch.zeros(3)})
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(small)) as old, zipfile.ZipFile(packed, "w") as new:
        for member in old.infolist():
            numbers = struct.pack("<i", 3 + BOMB // 4)
            new.writestr(member.filename, old.read(member).replace(b"K\x03tq", b"J" + numbers + b"tq"))
    return _bomb(packed.getvalue(), "data/0")


def _torch_values(pickled: bytes) -> bytes:
    """A file of torch that holds what is pickled, in the protocol 2."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(_torch({}))) as old, zipfile.ZipFile(packed, "w") as new:
        for member in old.infolist():
            pickle = member.filename.endswith("data.pkl")
            new.writestr(member.filename, b"\x80\x02" + pickled if pickle else old.read(member))
    return packed.getvalue()


def _namespaces() -> list[argparse.Namespace]:
    """Objects that share what they hold, in memory and in a pickle, but not when they are unpickled."""
    shared, objects = {str(k): None for k in range(MANY)}, [argparse.Namespace() for _ in range(MANY)]
    for made in objects:
        made.__dict__ = shared
    return objects


def _released(width: int, depth: int, block: torch.Tensor) -> dict[str, torch.Tensor]:
    """The tensors of a SiT that tell its sizes, with a tensor for every block."""
    sizes = {
        "pos_embed": (1, 1, width),
        "x_embedder.weight": (width, 1),
        "y_embedder.embedding_table.weight": (2, width),
        "final_layer.linear.weight": (1, width),
    }
    blocks = {f"blocks.{k}.attn.qkv.weight": block.clone() for k in range(depth)}
    return {name: torch.zeros(shape) for name, shape in sizes.items()} | blocks


def _shared(depth: int = 100) -> dict[str, torch.Tensor]:
    """A whole SiT whose blocks are the same in its file."""
    state = sit_on_a_line().state
    first = {name: tensor for name, tensor in state.items() if name.startswith("blocks.0.")}
    again = ({name.replace(".0.", f".{k}.", 1): tensor for name, tensor in first.items()} for k in range(depth))
    return {name: tensor for block in again for name, tensor in block.items()} | state


def _header(header: bytes, content: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + content


def _shape(shape: list[int], length: int) -> bytes:
    return json.dumps({"w": {"dtype": "F32", "shape": shape, "data_offsets": [0, length]}}).encode()


def _npy(shape: tuple[int, ...], content: bytes = bytes(64), dtype: str = "<f4") -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue() + content


ARRAYS = ("mean", "std", "scatter", "n", "mu", "sigma", "arr_0")  # that somebody reads


def _npz(content: bytes, names: tuple[str, ...] = ARRAYS) -> bytes:
    """An npz file in which every array is the same."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


def make(place: Path) -> None:
    """Writes every hostile file, into a folder for its format."""
    harm = Code(place / RAN)
    objects = _npy((1,), pickle.dumps([harm]), "|O")
    images = _npy((16, 2**12, 2**12, 3), b"", "|u1")
    pairs = [(k, None) for k in range(MANY)]
    wide, deep = _released(256_000, 1, torch.zeros(3)), _released(128, MANY, torch.zeros(1))
    lengthy = {"w" * MIB: torch.zeros(3)}
    files = {
        "pt/code": _torch({"w": harm}),
        "pt/code in the old format": _torch({"w": harm}, old=True),
        "pt/code in a bare pickle": pickle.dumps(harm),
        "pt/a long array in a pickle": _torch({"w": Array()}),
        "pt/a zip bomb": _torch_bomb(),
        "pt/a view of gigabytes": _torch({"w": torch.ones(1).expand(GIGABYTES)}),
        "pt/a view of gigabytes in the old format": _torch({"w": torch.ones(1).expand(GIGABYTES)}, old=True),
        "pt/a storage of gigabytes": _torch({"w": torch.ones(3)}, old=True).replace(b"K\x03N", b"J\xff\xff\xff\x7fN"),
        "pt/a tensor longer than what is stored": _torch({"w": Longer()}),
        "pt/a list that many objects copy": _torch([Copy(pairs) for _ in pairs]),
        "pt/a dictionary that many settings copy": _torch(_namespaces()),
        "pt/plain values alone": _torch_values(b"(" + 4 * MIB * b"}" + b"t."),
        "pt/a key that is nested too deep": _torch_values(b"})" + MIB * b"\x85" + b"Ns."),
        "pt/a string of gigabytes": b"\x80\x02\x8d" + struct.pack("<Q", 2**40),
        "weights.pt/NaN": _torch({"w": torch.tensor([float("nan")])}),
        "safetensors/a header longer than the file": _header(b"{}", length=2**62),
        "safetensors/a long header": _header(b"{}", length=99_000_000),
        "safetensors/a gigantic shape": _header(_shape([GIGABYTES], 16), bytes(16)),
        "safetensors/a gigantic shape and length": _header(_shape([GIGABYTES], 4 * GIGABYTES), bytes(16)),
        "safetensors/a shape that overflows": _header(_shape([2**62, 2**62], 16), bytes(16)),
        "safetensors/names alone": _header(json.dumps(dict.fromkeys(map(str, range(30 * MANY)), EMPTY)).encode()),
        "safetensors/a header nested too deep": _header(b"[" * 10_000),
        "safetensors/torch's format": _torch({"w": harm}),
        "safetensors/numbers of eight bits": save({"w": torch.ones(3).to(torch.float8_e4m3fn)}),
        "safetensors/complex numbers": save({"w": torch.ones(3) + 1j}),
        "safetensors/NaN": save({"w": torch.tensor([float("nan")])}),
        "released.pt/a width that asks for gigabytes": _torch(wide),
        "released.pt/layers without end": _torch(deep),
        "released.pt/layers that share their tensors": _torch(_shared()),
        "released.pt/a long name": _torch(lengthy),
        "released.safetensors/a width that asks for gigabytes": save(wide),
        "released.safetensors/layers without end": save(deep),
        "released.safetensors/a long name": save(sit_on_a_line().state | lengthy),
        "npy/an array longer than its file": _npy((GIGABYTES,)),
        "npy/objects": objects,
        "npy/a pickle": pickle.dumps(harm),
        "npy/a header longer than the file": b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**32 - 1),
        "npy/an npz": _npz(_npy((16,))),
        "npz/objects": _npz(objects),
        "npz/arrays longer than their file": _npz(_npy((GIGABYTES,))),
        "npz/a zip bomb": _bomb(_npz(_npy((BOMB // 4,), b""), ARRAYS[:-1]), "mu.npy"),
        "npz/a zip bomb of images": _bomb(_npz(images), "arr_0.npy", 16 * 3 * 2**24),
        "npz/a header nested too deep": _npz(b"\x93NUMPY\x01\x00" + struct.pack("<H", 9000) + b"-" * 9000),
        "npz/no zip": b"PK\x03\x04" + bytes(100),
    }
    for name, content in files.items():
        _written(place / name, content)


# Readers: functions of a new folder and the content of a file


def _written(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _told(call: Callable[[], object]) -> None:
    """Raises what is said on standard error, for what damage does not end."""
    with contextlib.redirect_stderr(io.StringIO()) as said:
        call()
    raise Trouble(said.getvalue().rstrip("\n"))


def _run(place: Path, name: str, content: bytes) -> Run:
    """A finished run whose result lists the file with its checksum."""
    run = Run(place / "tokenizer" / "0123")
    files = {name: fingerprint(_written(run.folder / name, content))}
    write_json(run.folder / "result.json", {"records": [], "facts": {}, "files": files})
    return run


def _pretrained(place: Path, content: bytes) -> None:
    fresh().save_pretrained(place / "published")
    _written(place / "published/model.safetensors", content)
    PretrainedTokenizer.from_pretrained(place / "published")


def _checkpoint(place: Path, content: bytes) -> None:
    run = Run(place / "tokenizer" / "0123")
    _written(run.folder / "checkpoint.pt", hashlib.sha256(content).digest() + content)
    _told(lambda: checkpoints._saved(run))


def _cached(name: str) -> Reader:
    """The cache of features, in which somebody replaced a file and its checksum."""

    def read(place: Path, content: bytes) -> None:
        np.savez(place / "images.npz", np.zeros((16, 8, 8, 3), np.uint8))
        images = open_images(place / "images.npz")

        def seen() -> SeenImages:
            outputs = Outputs(torch.ones(16, 4), None, torch.ones(16, 2))
            return look(images, lambda _: outputs, "network", place / "runs", True)

        folder = seen().folder
        _written(folder / name, content)
        about = read_json(folder / ABOUT)
        about["files"][name] = fingerprint(folder / name)
        write_json(folder / ABOUT, about)
        _told(lambda: (seen().features.sum(), seen().spatial))

    return read


def _file(read: Callable[[Path], object], suffix: str) -> Reader:
    return lambda place, content: void(read(_written(place / f"file{suffix}", content)))


def _convert(name: str, path: str = "", linked: bool = False) -> Reader:
    """`harness.convert` on a file called `name`, or on the `path` that leads to it."""

    def read(place: Path, content: bytes) -> None:
        file = _written(place / ("elsewhere" if linked else name), content)
        if linked:
            (place / name).symlink_to(file)
        convert.main([str(place / (path or name)), "--from", "sit", "--to", str(place / MADE)])

    return read


def _of_run(read: Callable[[Run], object], name: str) -> Reader:
    return lambda place, content: void(read(_run(place, name, content)))


def void(_: object) -> None:
    """Forgets what a reader returns."""


def _weights_files(suffix: str) -> dict[str, Reader]:
    files = (INCEPTION, VGG, DINO, *DINOV2.values(), *LITE)
    return {known.of: _file(known.read, suffix) for known in files}


Reader = Callable[[Path, bytes], None]
CONVERT = {
    ".pt": {
        **{f"convert {suffix}": _convert(f"model{suffix}") for suffix in (".pt", ".pth", ".ckpt", ".bin")},
        "convert a folder": _convert("hub/pytorch_model.bin", "hub"),
        "convert a link": _convert("link.pt", linked=True),
    },
    ".safetensors": {
        "convert": _convert("model.safetensors"),
        "convert a folder": _convert("hub/model.safetensors", "hub"),
        "convert a link": _convert("link.safetensors", linked=True),
    },
}
READERS: dict[str, dict[str, Reader]] = {
    "pt": {**_weights_files(".pth"), **CONVERT[".pt"], "a checkpoint": _checkpoint},
    "weights.pt": _weights_files(".pth"),
    "safetensors": {
        **_weights_files(".safetensors"),
        **CONVERT[".safetensors"],
        "a pretrained tokenizer": _pretrained,
        "a tokenizer": _of_run(lambda run: weights.load_tokenizer(EXPERIMENT, run), weights.WEIGHTS),
        "a generator": _of_run(lambda run: weights.load_generator(EXPERIMENT, 4, run), weights.WEIGHTS),
    },
    **{f"released{suffix}": readers for suffix, readers in CONVERT.items()},
    "npy": {
        "latents": _of_run(lambda run: Latents(run, "train", np.zeros(1), "cpu"), "train_mean.npy"),
        "features of training images": _of_run(reference.load, reference.FEATURES),
        "cached features": _cached("features.npy"),
    },
    "npz": {
        "statistics of latents": _of_run(load_statistics, STATISTICS),
        "principal components": _of_run(components.load, components.COMPONENTS),
        "cached moments": _cached("spatial.npz"),
        "images to score": _file(lambda path: list(open_images(path).batches(16)), ".npz"),
    },
}


def peak_mib() -> float:
    """The largest memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(place: Path) -> None:
    for kind, readers in READERS.items():
        for path in sorted((place / kind).iterdir()):
            for number, (reader, read) in enumerate(readers.items()):
                folder = place / "work" / f"{kind} {path.name} {number}"
                folder.mkdir(parents=True)
                content, before = path.read_bytes(), peak_mib()
                try:
                    read(folder, content)
                    error = ""
                except (Mistake, Trouble) as one_line:
                    error = str(one_line)
                line = {"file": f"{kind}/{path.name}", "reader": reader, "error": error, "mib": peak_mib() - before}
                print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
