"""How fast images are read: from class folders, from tar shards and from memory-mapped arrays."""

from __future__ import annotations

import io
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.data.splits import Split, open_split
from harness.experiments.experiment import Data
from harness.system import plugins
from harness.system.machine import cores

if TYPE_CHECKING:
    import numpy as np

SIZE = (500, 375)  # px, the most common size in ImageNet
SIDE = 256
BATCH = 64
JPEG = {"quality": 98, "subsampling": 0}  # about 95 kB an image; an image of ImageNet has 110
LOADERS = {"class folders": "imagenet", "tar shards": "webdataset", "memory-mapped arrays": "folder"}


def throughput(images: int = 128, rounds: int = 3, threads: Sequence[int] | None = None) -> list[dict[str, Any]]:
    """Images per second of every loader, in random order, by the number of decoding threads; the best of `rounds`.

    The images are JPEGs of real photographs. They are in the cache of the system, so the disk does not count.
    """
    from harness.data.indexed import IndexedImages

    rows = []
    with tempfile.TemporaryDirectory() as root:
        _write(Path(root), images)
        for loader, name in LOADERS.items():
            built = Path(root) / "built" / name
            train = _built(Path(root), name, built, images)
            indexed = isinstance(train.images, IndexedImages)
            for count in threads or _counts() if indexed else [1]:
                readable: Any = IndexedImages(built, "train", count) if indexed else train.images
                rate = max(_rate(readable) for _ in range(rounds))
                rows.append({"loader": loader, "threads": count, "images/s": rate})
    return rows


def _counts() -> list[int]:
    """1, 2, 4, ... and all cores."""
    total = cores()
    return sorted({2**k for k in range(total.bit_length()) if 2**k < total} | {total})


def _rate(images: np.ndarray) -> float:
    import numpy as np

    order = np.random.default_rng(0).permutation(len(images))
    began = time.perf_counter()
    for start in range(0, len(order), BATCH):
        _ = np.array(images[order[start : start + BATCH]])
    return len(order) / (time.perf_counter() - began)


def _built(root: Path, name: str, folder: Path, images: int) -> Split:
    folder.mkdir(parents=True)
    module = plugins.load("harness.data.sets", name, "data set")
    source = root / ("shards" if name == "webdataset" else "folders")
    module.build(Data(name, SIDE, images, images, str(source)), folder, quiet=True)
    return open_split(folder, "train")


def _write(root: Path, images: int) -> None:
    """The same JPEGs in class folders and in a shard: `images` for `train`, and four for `val`."""
    (root / "shards").mkdir()
    for split, count in (("train", images), ("val", 4)):
        with tarfile.open(root / "shards" / f"{split}-0000.tar", "w") as shard:
            for k, content in enumerate(_photographs(count)):
                file = root / "folders" / split / str(k % 2) / f"{k:06}.JPEG"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
                for suffix, data in (("jpg", content), ("cls", str(k % 2).encode())):
                    member = tarfile.TarInfo(f"{k:06}.{suffix}")
                    member.size = len(data)
                    shard.addfile(member, io.BytesIO(data))


def _photographs(count: int) -> Iterator[bytes]:
    """Random crops of photographs, as JPEG files."""
    import numpy as np
    from PIL import Image

    from harness.data.photographs import photographs

    sources = photographs()
    draw = np.random.default_rng(0)
    for k in range(count):
        source = sources[k % len(sources)]
        width = draw.uniform(0.5, 1) * min(source.width, source.height * SIZE[0] / SIZE[1])
        left = draw.uniform() * (source.width - width)
        box = (left, 0, left + width, width * SIZE[1] / SIZE[0])
        file = io.BytesIO()
        source.resize(SIZE, Image.Resampling.BICUBIC, box).save(file, "JPEG", **JPEG)
        yield file.getvalue()
