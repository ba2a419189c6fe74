"""The data set, drawn or read once at the size of the experiment."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Any

from harness.data import splits
from harness.experiments.experiment import Data, Experiment
from harness.planning.stage import Outcome, Size, Work, require_images
from harness.system import plugins
from harness.system.files import checksum

revision = 2
about = "images, labels and object masks as memory-mapped arrays, or an index of images that stay where they are"
INDEXED_BYTES = 256  # per image of an index, mostly for its name


def inputs(experiment: Experiment) -> tuple[str, ...]:
    return ()


def size(experiment: Experiment) -> Size:
    d = experiment.data
    images = d.train_images + 2 * d.val_images
    indexed = getattr(plugins.load("harness.data.sets", d.name, "data set"), "indexed", False)
    return Size(images, images * (INDEXED_BYTES if indexed else 4 * d.image_size**2 + 8))


def config(experiment: Experiment) -> dict[str, Any]:
    return _identity(experiment.data)


@functools.cache  # every row calls it, and the recipe of a folder reads every file
def _identity(data: Data) -> dict[str, Any]:
    module = plugins.load("harness.data.sets", data.name, "data set")
    return {"name": data.name, "revision": module.revision, "recipe": module.recipe(data)}


def run(work: Work) -> Outcome:
    module = plugins.load("harness.data.sets", work.experiment.data.name, "data set")
    facts = module.build(work.experiment.data, work.run.folder, work.quiet, work.check_stop)
    counts = {split: len(splits.open_split(work.run.folder, split)) for split in splits.splits(work.run.folder)}
    if not getattr(module, "fixed", False) and counts != config(work.experiment)["recipe"].get("images"):
        require_images(work.experiment, counts)  # a plan could not know how many open, or how many shards hold
    digits = content(work.run.folder)
    return Outcome(facts={**facts, "images": counts, "content": digits})


def content(folder: Path) -> str:
    """12 hex digits that identify the arrays of a data set."""
    digest = hashlib.sha256()
    for path in sorted(folder / f"{split}_{kind}.npy" for split in splits.SPLITS for kind in splits.KINDS):
        if path.exists():
            digest.update(f"{path.name} {checksum(path)}".encode())
    return digest.hexdigest()[:12]
