"""Metrics of plug-ins on the sets of generated images."""

from __future__ import annotations

from typing import Any

from harness.experiments import plugin_metrics
from harness.experiments.experiment import Experiment
from harness.networks import flops
from harness.planning.stage import Outcome, Size, Work, decoder

revision = 1
about = "the metrics that a user adds, measured on generated images"
parallel = True


def inputs(experiment: Experiment) -> tuple[str, ...]:
    sets = ("samples", "guided_samples") if experiment.guidance.on else ("samples",)
    return ("data", "reference", decoder(experiment), "latents", *sets)


def size(experiment: Experiment) -> Size:
    images = (len(inputs(experiment)) - 2) * experiment.sampling.images
    return Size(images, 10_000, images * flops.judging(experiment))


def config(experiment: Experiment) -> dict[str, Any]:
    return {
        "evaluation": experiment.evaluation.effective_fields,
        "images": experiment.sampling.images,
        "seed": experiment.seed_of_samples,
        "metrics": plugin_metrics.metrics(generated=True),
    }


def run(work: Work) -> Outcome:
    from harness.evaluation.decoded_latents import DecodedLatents, latent_sets
    from harness.evaluation.records import records_of_plugins

    judge, records = DecodedLatents(work), []
    for z, of_set in latent_sets(work):
        records += records_of_plugins(judge.generated(z, *of_set), generated=True)
    return Outcome(records)
