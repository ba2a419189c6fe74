"""The scale of guidance: as it is declared, or the best of a grid."""

from __future__ import annotations

from typing import Any

from harness.experiment import Experiment
from harness.stages import Outcome, Size, Work, decoder

revision = 1
about = "the guidance scale of least gFD on a grid; a single scale is taken as it is"
parallel = True
METRICS = ["gfd", "classifier_score"]
SEARCHED_FROM = 1_000_000  # images of each class before those of the search, which are not those that are judged


def inputs(experiment: Experiment) -> tuple[str, ...]:
    searched = ("data", "reference", decoder(experiment), "latents", "generator")
    return searched if experiment.guidance.searched else ()


def size(experiment: Experiment) -> Size:
    guidance = experiment.guidance
    images = len(guidance.scales) * guidance.search_images if guidance.searched else 1
    return Size(images * experiment.sampling.steps, 10_000)


def config(experiment: Experiment) -> dict[str, Any]:
    if not experiment.guidance.searched:
        return {"scales": experiment.guidance.scales}
    return {
        "guidance": experiment.guidance,
        "sampler": experiment.sampling.sampler,
        "steps": experiment.sampling.steps,
        "metrics_px": experiment.evaluation.metrics_px,
        "seed": experiment.seed,
    }


def run(work: Work) -> Outcome:
    """The fact `scale`, and the records of every scale of a grid under the split "guidance W"."""
    import dataclasses

    experiment = work.experiment
    if not experiment.guidance.searched:
        return Outcome(facts={"scale": experiment.guidance.scales[0]})

    from harness import sampling
    from harness.judge import Judge
    from harness.metrics import records

    source, judge = sampling.load(experiment, work.inputs, work.machine), Judge(work)
    first = SEARCHED_FROM * source.classes
    indices = range(first, first + experiment.guidance.search_images)
    found, distances = [], {}
    with work.progress(len(experiment.guidance.scales), "scale") as bar:
        for w in experiment.guidance.scales:
            z, how = source.draw(indices, w, work.map), sampling.how(experiment, w)
            at = records(judge.generated(z, "guided", how, experiment.generator.training.steps), METRICS)
            distances[w] = next(r.value for r in at if r.metric == "gfd")
            found += [dataclasses.replace(record, split=f"guidance {w:g}") for record in at]
            bar.update()
    return Outcome(found, {"scale": min(distances, key=distances.__getitem__)})
