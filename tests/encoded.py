"""Small data sets of encoded photographs: class folders as ImageNet has them, and tar shards of the same files."""

from __future__ import annotations

import gc
import importlib.util
import io
import os
import tarfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from harness.data.splits import Split, open_split
from harness.experiments.experiment import Data
from harness.system import plugins

CLASSES = ("n01440764", "n01443537", "n01484850")
SIZES = ((50, 37), (37, 50), (70, 41), (33, 33))  # px
TIME = 1_600_000_000
SIDE = 16


def photograph(name: str) -> Image.Image:
    """A sample image of scikit-image."""
    spec = importlib.util.find_spec("skimage")
    assert spec is not None and spec.origin is not None
    with Image.open(Path(spec.origin).parent / "data" / name) as image:
        return image.convert("RGB")


def jpegs(count: int, name: str = "chelsea.png") -> list[bytes]:
    """Different crops of a photograph, landscape, portrait and square, as JPEG files."""
    source, found = photograph(name), []
    for k in range(count):
        width, height = SIZES[k % len(SIZES)]
        file = io.BytesIO()
        source.crop((9 * k, 5 * k, 9 * k + width, 5 * k + height)).save(file, "JPEG", quality=90)
        found.append(file.getvalue())
    return found


def save_folders(root: Path, train: int = 5, val: int = 2) -> Path:
    """`train` and `val` images of every class, in class folders, all with the same time."""
    photographs = dict(zip(CLASSES, ("chelsea.png", "astronaut.png", "coffee.png"), strict=True))
    for split, count in (("train", train), ("val", val)):
        for name, photo in photographs.items():
            folder = root / split / name
            folder.mkdir(parents=True)
            for k, content in enumerate(jpegs(train + val, photo)[-count:]):
                save(folder / f"{name}_{k}.JPEG", content)
    return root


def save(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    os.utime(path, (TIME, TIME))


def save_shards(root: Path, folders: Path, per_shard: int = 4, prefix: str = "") -> Path:
    """The files of class folders in shards, shuffled by their names, with labels in turn as .cls and as .json."""
    root.mkdir()
    for split in ("train", "val"):
        files = sorted((folders / split).glob("*/*"), key=lambda path: path.stem[::-1])
        for start in range(0, len(files), per_shard):
            members = []
            for k, path in enumerate(files[start : start + per_shard]):
                label = CLASSES.index(path.parent.name)
                told = (".cls", f"{label}\n") if k % 2 else (".json", f'{{"label": {label}, "width": 9}}')
                members += [(f"{path.stem}.jpg", path.read_bytes()), (path.stem + told[0], told[1].encode())]
            write_tar(root / f"{prefix}{split}-{start // per_shard:04}.tar", members)
    return root


def write_tar(path: Path, members: Sequence[tuple[str, bytes]]) -> None:
    with tarfile.open(path, "w") as shard:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            shard.addfile(member, io.BytesIO(content))
    os.utime(path, (TIME, TIME))


def asked(name: str, path: Path | str, **fields: object) -> Data:
    base = Data(name, image_size=SIDE, train_images=100, val_images=100, argument=str(path))
    return replace(base, **fields)  # type: ignore[arg-type]


def build(name: str, path: Path, folder: Path, **fields: object) -> dict[str, object]:
    """Builds the data set into `folder`; what it says of itself."""
    folder.mkdir(parents=True, exist_ok=True)
    facts: dict[str, object] = plugins.load("harness.data.sets", name, "data set").build(
        asked(name, path, **fields), folder
    )
    return facts


def opened(name: str, path: Path, folder: Path, **fields: object) -> Split:
    """Its training split."""
    build(name, path, folder, **fields)
    return open_split(folder, "train")


def no_thread_outlives(used: Callable[[], Any]) -> None:
    """Lets go of what `used` returns, which has decoded images: the threads of that end."""
    before = set(threading.enumerate())
    held = [used()]
    workers = [thread for thread in threading.enumerate() if thread not in before]
    assert any(thread.name.startswith("decoding") for thread in workers)
    held.clear()
    gc.collect()
    for thread in workers:
        thread.join(5)
    assert not any(thread.is_alive() for thread in workers)
