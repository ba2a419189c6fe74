"""gFD at up to five moments of the generator's training."""

from __future__ import annotations

from typing import Any

from harness.experiment import UNGUIDED, Experiment
from harness.stages import Outcome, Size, Work, decoder
from harness.weights import snapshot_file, snapshot_steps

revision = 2
about = "gFD over the generator's training, without guidance"
parallel = True
METRICS = ["gfd", "classifier_score"]


def inputs(experiment: Experiment) -> tuple[str, ...]:
    return ("data", "reference", decoder(experiment), "latents", "generator")


def size(experiment: Experiment) -> Size:
    moments = len(snapshot_steps(experiment.generator.training.steps))
    return Size(moments * experiment.sampling.curve_images * experiment.sampling.steps, 10_000)


def config(experiment: Experiment) -> dict[str, Any]:
    sampling = experiment.sampling
    return {
        "metrics_px": experiment.evaluation.metrics_px,
        "images": sampling.curve_images,
        "sampler": sampling.sampler,
        "steps": sampling.steps,
        "labels": sampling.labels,
        "seed": experiment.seed,
    }


def run(work: Work) -> Outcome:
    from harness import sampling
    from harness.judge import Judge
    from harness.metrics import records

    experiment, steps = work.experiment, work.experiment.generator.training.steps
    judge, found = Judge(work), []
    with work.progress(len(snapshot_steps(steps)), "snapshot") as bar:
        for step in snapshot_steps(steps):
            source = sampling.load(experiment, work.inputs, work.machine, snapshot_file(step, steps))
            z = source.draw(range(experiment.sampling.curve_images), UNGUIDED, work.map)
            how = sampling.how(experiment, UNGUIDED)
            found += records(judge.generated(z, "samples", how, step), METRICS)
            bar.update()
    return Outcome(found)
