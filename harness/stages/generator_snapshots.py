"""gFD at up to twenty moments of the generator's training."""

from __future__ import annotations

from typing import Any

from harness.experiments.experiment import UNGUIDED, Experiment
from harness.latents.sample_plan import drawing_law
from harness.networks import flops
from harness.networks.weights import MOMENTS_OF_GENERATOR, snapshot_file, snapshot_steps
from harness.planning.stage import Outcome, Size, Work, decoder

revision = 5
about = "gFD over the generator's training, without guidance"
parallel = True
METRICS = ["gfd"]


def inputs(experiment: Experiment) -> tuple[str, ...]:
    return ("data", "reference", decoder(experiment), "latents", "generator")


def moments(experiment: Experiment) -> list[int]:
    """The steps of the generator's training at which its weights are kept."""
    return snapshot_steps(experiment.generator.training.steps, MOMENTS_OF_GENERATOR)


def size(experiment: Experiment) -> Size:
    images = len(moments(experiment)) * experiment.sampling.curve_images
    work = images * (flops.drawing(experiment) + flops.judging(experiment))
    return Size(images * experiment.sampling.steps, 10_000, work, images)


def config(experiment: Experiment) -> dict[str, Any]:
    sampling = experiment.sampling
    return {
        "metrics_px": experiment.evaluation.side_px,
        "measure": experiment.evaluation.measure,
        "images": sampling.curve_images,
        **drawing_law(experiment),
        "seed": experiment.seed_of_samples,
    }


def run(work: Work) -> Outcome:
    from harness.evaluation.decoded_latents import DecodedLatents
    from harness.evaluation.records import records
    from harness.latents import sampling

    experiment, steps = work.experiment, work.experiment.generator.training.steps
    judge, results = DecodedLatents(work, logits=False), []
    with work.progress(len(moments(experiment)), "snapshot") as bar:
        for step in moments(experiment):
            source = sampling.load(experiment, work.inputs, work.machine, snapshot_file(step, steps))
            z = source.draw(range(experiment.sampling.curve_images), UNGUIDED, work.map)
            how = sampling.how(experiment, UNGUIDED)
            results += records(judge.generated(z, "samples", how, step), METRICS)
            bar.update()
    return Outcome(results)
