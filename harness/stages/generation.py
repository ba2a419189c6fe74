"""All metrics of generated images: without guidance, with it, from the prior, and of reconstructions as their floor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.experiments.experiment import Experiment
from harness.latents.sample_plan import SAMPLES
from harness.networks import flops
from harness.planning.stage import Outcome, Size, Work, decoder

if TYPE_CHECKING:
    from torch import Tensor

revision = 5
about = "gFD and all other metrics of generated images; the first images are kept for the report"
parallel = True
SHOWN = 20  # images of every set that are kept


def inputs(experiment: Experiment) -> tuple[str, ...]:
    sets = ("samples", "guided_samples") if experiment.guidance.on else ("samples",)
    return ("data", "reference", decoder(experiment), "latents", *sets)


def size(experiment: Experiment) -> Size:
    sets = len(inputs(experiment)) - 2
    images = sets * experiment.sampling.images
    return Size(images, sets * SHOWN * 3 * experiment.data.image_size**2, images * flops.judging(experiment))


def config(experiment: Experiment) -> dict[str, Any]:
    return {
        "evaluation": experiment.evaluation.effective_fields,
        "images": experiment.sampling.images,
        "seed": experiment.seed_of_samples,
    }


def run(work: Work) -> Outcome:
    """Writes shown.npz: uint8 (n, H, W, 3), the first images of every set."""
    import numpy as np
    import torch

    from harness.evaluation import records as metrics
    from harness.evaluation.decoded_latents import DecodedLatents
    from harness.evaluation.generated import LatentSets
    from harness.latents.sampling import Noise, shape
    from harness.latents.statistics import load_statistics

    experiment = work.experiment
    noise = Noise(experiment.seed_of_samples, range(experiment.sampling.images), shape(experiment))()
    statistics, encoded = load_statistics(work.inputs["latents"]), _encoded(work)
    sets = {
        "prior": (statistics.denormalise(noise), "latents N(0, I), denormalised: from no generator"),
        "reconstructions": (
            statistics.denormalise(encoded),
            "decoded from one sample of the posterior of each of the first training images, not mirrored",
        ),
    }
    for split, stage in {"samples": "samples", "guided": "guided_samples"}.items():
        if stage in work.inputs:
            z = torch.from_numpy(work.inputs[stage].array(SAMPLES))
            sets[split] = (z, work.inputs[stage].fact("how"))
    judge = DecodedLatents(work)
    records = []
    shown: dict[str, Any] = {}
    with work.progress(len(sets), "set") as bar:
        for split, (z, how) in sets.items():
            latents = LatentSets(statistics.normalise(z), encoded)
            records += metrics.records(judge.generated(z, split, how, experiment.generator.training.steps, latents))
            shown[split] = judge.images(z[:SHOWN]).permute(0, 2, 3, 1).numpy()
            bar.update()
    np.savez(work.run.folder / "shown.npz", **shown)
    return Outcome(records)


def _encoded(work: Work) -> Tensor:
    """Samples of the posteriors of the first training images, normalised, as many as there are generated images."""
    import torch

    from harness.latents.shards import Latents
    from harness.system.randomness import Draws

    labels = work.inputs["data"].array("train_labels.npy")
    latents = Latents(work.inputs["latents"], "train", labels, "cpu")
    indices = torch.arange(min(work.experiment.sampling.images, len(latents)))
    noise = Draws(work.experiment.seed_of_samples, "reconstructions", 0).normal(
        "latents", len(indices), *latents.shape[2:]
    )
    return latents.at(indices, torch.zeros_like(indices), noise)[0]
