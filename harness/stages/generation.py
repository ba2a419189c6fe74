"""All metrics of generated images: without guidance, with it, from the prior, and of reconstructions as their floor."""

from __future__ import annotations

from typing import Any

from harness.experiments.experiment import Experiment
from harness.networks import flops
from harness.planning.stage import Outcome, Size, Work, decoder

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

    from harness.evaluation import records as metrics
    from harness.evaluation.decoded_latents import DecodedLatents, latent_sets

    judge = DecodedLatents(work)
    records = []
    shown: dict[str, Any] = {}
    with work.progress(len(inputs(work.experiment)) - 2, "set") as bar:
        for z, of_set in latent_sets(work):
            records += metrics.records(judge.generated(z, *of_set))
            shown[of_set.split] = judge.images(z[:SHOWN]).permute(0, 2, 3, 1).numpy()
            bar.update()
    np.savez(work.run.folder / "shown.npz", **shown)
    return Outcome(records)
