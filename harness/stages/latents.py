"""Posteriors of the training images and their mirror images, which the generator is trained on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.experiments.experiment import Experiment
from harness.networks import flops
from harness.planning.stage import Outcome, Size, Stopped, Work
from harness.system.errors import Trouble

if TYPE_CHECKING:
    import numpy as np

    from harness.latents.shards import Shard
    from harness.latents.statistics import LatentMoments
    from models.autoencoders.tokenizer import Tokenizer

revision = 2
about = "posterior mean and log-variance of the training images, and the statistics that normalise them"
parallel = True
resumes = True
BATCH = 512
SHARD = 8192  # images at most: 128 MiB per parameter of the posterior where L Z is 4096
SHARES = 4  # shards of a split at least, if it has that many batches: several processes can share it
OVERHEAD_BYTES = 1024  # of a shard, besides its values, about
SPLITS = ("train", "val")


def inputs(experiment: Experiment) -> tuple[str, ...]:
    return ("data", "tokenizer")  # decoder fine-tuning leaves the encoder as it is


def size(experiment: Experiment) -> Size:
    data, tokenizer = experiment.data, experiment.tokenizer
    images = views("train", experiment) * data.train_images + data.val_images
    shards = sum(math.ceil(n / shard_images(n)) for n in (data.train_images, data.val_images))
    values = (2 if tokenizer.gaussian.on else 1) * images * experiment.latents.numbers
    return Size(images, 2 * values + OVERHEAD_BYTES * shards, images * flops.of_encoder(experiment))


def shard_images(images: int) -> int:
    """The number of images in each shard of a split: whole batches, except in the last shard."""
    return min(SHARD, BATCH * math.ceil(images / (SHARES * BATCH)))


def config(experiment: Experiment) -> dict[str, Any]:
    return {"flip": experiment.data.hashed_flip}


def views(split: str, experiment: Experiment) -> int:
    """The views of an image: as it is and, if trainings mirror images, its mirror image."""
    return 2 if split == "train" and experiment.data.flip else 1


def run(work: Work) -> Outcome:
    """Writes the shards of each split (`harness.latents.shards.Shard`), and statistics.npz, (Z,) each; of
    latents that are codes also codebook.npy.

    A shard depends on its images alone, so any process may write it, and the shards that were finished before a stop
    are kept.
    """
    import numpy as np

    from harness.data.splits import open_split
    from harness.latents.shards import CODEBOOK
    from harness.latents.statistics import STATISTICS, LatentMoments
    from harness.networks import weights
    from harness.system.files import digest

    folder, channels = work.inputs["data"].checked_folder(), work.experiment.latents.channels
    network = weights.load_tokenizer(work.experiment, work.inputs["tokenizer"]).to(work.machine.device)
    splits = {split: open_split(folder, split).images for split in SPLITS}
    shards = [shard for split, images in splits.items() for shard in _shards(split, len(images))]
    made_from = digest([work.inputs[name].result()["files"] for name in inputs(work.experiment)])

    def make(shard: Shard) -> LatentMoments | None:
        """The sums over a shard, which it writes unless it is on disk; None if the work has to stop."""
        if sums := shard.read(work.shared, made_from):
            return sums
        encoded = _encoded(work, network, splits[shard.split], shard)
        if encoded is None:
            return None
        shard.write(work.shared, *encoded, made_from)
        return encoded[1]

    if work.processes.first:  # the others wait for it before their first shard
        _remove_all_but(shards, work.shared)
    train = LatentMoments(channels)
    images_of = {shard: views(shard.split, work.experiment) * len(shard) for shard in shards}
    with work.progress(sum(images_of.values()), "image") as bar:
        for shard, sums in zip(shards, work.map(make, shards), strict=True):
            if sums is None:
                raise Stopped
            if shard.split == "train":
                train.merge(sums)
            bar.update(images_of[shard])
    mean, std = train.statistics()
    np.savez(work.run.folder / STATISTICS, mean=mean.numpy(), std=std.numpy())
    if work.experiment.tokenizer.codes.on:
        np.save(work.run.folder / CODEBOOK, _codebook(network))
    if work.processes.first:
        _require(shards, work.shared)
    return Outcome(facts=work.damaged(name for images in splits.values() for name in getattr(images, "damaged", [])))


def _codebook(network: Tokenizer) -> np.ndarray:
    """The codes (n, Z), float32, in the form in which they are latents."""
    import torch

    from models.autoencoders.bottlenecks import Codes

    assert isinstance(network.quantiser, Codes)
    with torch.no_grad():
        every = torch.arange(network.quantiser.count, device=next(network.parameters()).device)
        codes: np.ndarray = network.quantiser.lookup(every).float().cpu().numpy()
    return codes


def _shards(split: str, images: int) -> list[Shard]:
    """The shards of a split, in order."""
    from harness.latents.shards import Shard

    starts = range(0, images, shard_images(images))
    return [Shard(split, start, min(start + starts.step, images)) for start in starts]


def _encoded(
    work: Work, network: Tokenizer, images: np.ndarray, shard: Shard
) -> tuple[dict[str, np.ndarray], LatentMoments] | None:
    """The arrays of a shard, by parameter of the posterior, and the sums over it; None if the work has to stop."""
    import numpy as np

    from harness.latents.autoencode import encode
    from harness.latents.shards import PARAMETERS
    from harness.latents.statistics import LatentMoments

    seen, form = views(shard.split, work.experiment), work.experiment.latents
    sums, shape = LatentMoments(form.channels), (len(shard), seen, form.tokens, form.channels)
    gaussian = work.experiment.tokenizer.gaussian.on
    arrays = {name: np.empty(shape, np.float16) for name in PARAMETERS[: 1 + gaussian]}
    done = 0
    for batch in _batches(images, shard):
        if work.should_stop():
            return None
        for view in range(seen):
            posterior = encode(network, batch[:, :, ::-1] if view else batch, work.machine)
            for name, array in arrays.items():
                array[done : done + len(batch), view] = getattr(posterior, name).numpy()
            sums.add(posterior)
        done += len(batch)
    return arrays, sums


def _batches(images: np.ndarray, shard: Shard) -> Iterator[np.ndarray]:
    """The images of a shard, in batches; a thread reads and decodes the next batch while one is encoded."""
    from concurrent.futures import ThreadPoolExecutor

    first, *others = (slice(at, min(at + BATCH, shard.stop)) for at in range(shard.start, shard.stop, BATCH))
    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(images.__getitem__, first)
        for part in others:
            batch = following.result()
            following = thread.submit(images.__getitem__, part)
            yield batch
        yield following.result()


def _remove_all_but(shards: list[Shard], folder: Path) -> None:
    """Removes files that other code left for the splits: the result would list them."""
    kept = {name for shard in shards for name in shard.names}
    for path in [path for split in SPLITS for path in folder.glob(f"{split}_*")]:
        if path.name not in kept:
            path.unlink()


def _require(shards: list[Shard], folder: Path) -> None:
    """Raises `Trouble` if this process does not see a shard of another process: the result would lack it."""
    seen = {path.name for path in folder.iterdir()}
    for shard in shards:
        if shard.last not in seen:
            raise Trouble(
                f"{folder / shard.last} was written but is not visible here: all processes have to share a disk"
            )
