"""Latents drawn from the generator without guidance."""

from __future__ import annotations

from typing import Any

from harness import flops
from harness.experiment import UNGUIDED, Experiment, Guide
from harness.stages import Outcome, Size, Work

revision = 2
about = "latents drawn from the generator without guidance"
SAMPLES = "samples.npy"
PART = 1024  # images; a multiple of the batch, so that batches fall where they would
parallel = True
resumes = True


def inputs(experiment: Experiment) -> tuple[str, ...]:
    return ("data", "latents", "generator")


def size(experiment: Experiment) -> Size:
    return size_of(experiment, UNGUIDED)


def size_of(experiment: Experiment, guide: Guide) -> Size:
    """What drawing with a guide takes."""
    images, dimensions = experiment.sampling.images, experiment.tokenizer.tokens * experiment.tokenizer.channels
    work = images * flops.drawing(experiment, guide)
    return Size(images * experiment.sampling.steps, 4 * images * dimensions, work, images)


def config(experiment: Experiment) -> dict[str, Any]:
    sampling = experiment.sampling
    return {
        "images": sampling.images,
        "sampler": sampling.sampler,
        "steps": sampling.steps,
        "time_shift": sampling.time_shift,
        "labels": sampling.labels,
        "seed": experiment.seed,
    }


def run(work: Work) -> Outcome:
    return draw(work, UNGUIDED)


def draw(work: Work, guide: Guide) -> Outcome:
    """Writes samples.npy, float32 (n, L, Z).

    Images depend on their index alone, so what was drawn before a stop is kept, part by part.
    """
    import shutil

    import numpy as np

    from harness import sampling
    from harness.store import replacing

    source, images = sampling.load(work.experiment, work.inputs, work.machine), work.experiment.sampling.images
    folder = work.run.folder / "parts"
    folder.mkdir(exist_ok=True)
    paths = {start: folder / f"{start}.npy" for start in range(0, images, PART)}
    there = work.processes.from_first([start for start, path in paths.items() if path.exists()])
    with work.progress(images, "image") as bar:
        for start, path in paths.items():
            indices = range(start, min(start + PART, images))
            if start not in there:
                z = source.draw(indices, guide, work.map)
                with replacing(path) as temporary, temporary.open("wb") as file:
                    np.save(file, z.numpy())
            bar.update(len(indices))
    if work.processes.first:  # the others do not have the parts of earlier attempts
        np.save(work.run.folder / SAMPLES, np.concatenate([np.load(path) for path in paths.values()]))
        shutil.rmtree(folder)
    return Outcome(facts={"how": sampling.how(work.experiment, guide)})
