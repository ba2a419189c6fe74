"""gFD at up to five moments of the generator's training."""

from __future__ import annotations

from typing import Any

from harness.experiments.experiment import UNGUIDED, Experiment
from harness.networks import flops
from harness.networks.weights import snapshot_file, snapshot_steps
from harness.planning.stage import Outcome, Size, Work, decoder

revision = 4
about = "gFD over the generator's training, without guidance"
parallel = True
METRICS = ["gfd", "classifier_score"]


def inputs(experiment: Experiment) -> tuple[str, ...]:
    return ("data", "reference", decoder(experiment), "latents", "generator")


def size(experiment: Experiment) -> Size:
    images = len(snapshot_steps(experiment.generator.training.steps)) * experiment.sampling.curve_images
    work = images * (flops.drawing(experiment) + flops.judging(experiment))
    return Size(images * experiment.sampling.steps, 10_000, work, images)


def config(experiment: Experiment) -> dict[str, Any]:
    sampling = experiment.sampling
    return {
        "metrics_px": experiment.evaluation.side_px,
        "measure": experiment.evaluation.measure,
        "images": sampling.curve_images,
        "sampler": sampling.sampler,
        "steps": sampling.steps,
        "time_shift": sampling.time_shift,
        "labels": sampling.labels,
        "seed": experiment.seed,
    }


def run(work: Work) -> Outcome:
    from harness.evaluation.decoded_latents import DecodedLatents
    from harness.evaluation.records import records
    from harness.latents import sampling

    experiment, steps = work.experiment, work.experiment.generator.training.steps
    judge, results = DecodedLatents(work), []
    with work.progress(len(snapshot_steps(steps)), "snapshot") as bar:
        for step in snapshot_steps(steps):
            source = sampling.load(experiment, work.inputs, work.machine, snapshot_file(step, steps))
            z = source.draw(range(experiment.sampling.curve_images), UNGUIDED, work.map)
            how = sampling.how(experiment, UNGUIDED)
            results += records(judge.generated(z, "samples", how, step), METRICS)
            bar.update()
    return Outcome(results)
