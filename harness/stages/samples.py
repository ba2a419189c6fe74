"""Latents drawn from the generator without guidance."""

from __future__ import annotations

from typing import Any

from harness.experiment import Experiment
from harness.stages import Outcome, Size, Work

revision = 1
about = "latents drawn from the generator without guidance"
SAMPLES = "samples.npy"


def inputs(experiment: Experiment) -> tuple[str, ...]:
    return ("data", "latents", "generator")


def size(experiment: Experiment) -> Size:
    sampling, tokenizer = experiment.sampling, experiment.tokenizer
    return Size(sampling.images * sampling.steps, 4 * sampling.images * tokenizer.tokens * tokenizer.channels)


def config(experiment: Experiment) -> dict[str, Any]:
    sampling = experiment.sampling
    return {
        "images": sampling.images,
        "sampler": sampling.sampler,
        "steps": sampling.steps,
        "seed": experiment.seed,
    }


def run(work: Work) -> Outcome:
    return draw(work, 1.0)


def draw(work: Work, w: float) -> Outcome:
    """Writes samples.npy, float32 (n, L, Z), at guidance w; classes follow one another."""
    import numpy as np

    from harness import sampling

    source = sampling.load(work.experiment, work.inputs, work.machine)
    images = work.experiment.sampling.images
    with work.progress(images, "image") as bar:
        z = source.draw(range(images), w, work.check_stop)
        bar.update(images)
    np.save(work.run.folder / SAMPLES, z.numpy())
    return Outcome(facts={"guidance": w, "how": sampling.how(work.experiment, w)})
