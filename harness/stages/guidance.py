"""The scale and the interval of guidance: as declared, or the best of a grid."""

from __future__ import annotations

from typing import Any

from harness.experiments.experiment import Experiment
from harness.latents.sample_plan import drawing_law
from harness.networks import flops
from harness.planning.stage import Outcome, Size, Work, decoder

revision = 4
about = "the scale and interval of guidance with the least gFD on a grid; a single pair is used as it is"
parallel = True
METRICS = ["gfd", "classifier_score"]
SEARCHED_FROM = 1_000_000  # images of each class before those of the search, so that it shares none with the samples


def inputs(experiment: Experiment) -> tuple[str, ...]:
    searched = ("data", "reference", decoder(experiment), "latents", "generator")
    return searched if experiment.guidance.searched else ()


def size(experiment: Experiment) -> Size:
    guidance = experiment.guidance
    if not guidance.searched:
        return Size(experiment.sampling.steps, 10_000)
    images = len(guidance.grid) * guidance.search_images
    drawing = guidance.search_images * sum(flops.drawing(experiment, guide) for guide in guidance.grid)
    work = drawing + images * flops.judging(experiment)
    return Size(images * experiment.sampling.steps, 10_000, work, images)


def config(experiment: Experiment) -> dict[str, Any]:
    if not experiment.guidance.searched:
        guidance = experiment.guidance
        return {"scales": guidance.scales, "intervals": guidance.intervals, "earlier": guidance.earlier}
    return {
        "guidance": experiment.guidance,
        **drawing_law(experiment),
        "metrics_px": experiment.evaluation.side_px,
        "measure": experiment.evaluation.measure,
        "seed": experiment.seed_of_samples,
    }


def run(work: Work) -> Outcome:
    """Records the fact `guide` (scale, low, high), and the metrics of every pair of a grid as split "guidance PAIR"."""
    import dataclasses

    experiment, grid = work.experiment, work.experiment.guidance.grid
    if len(grid) == 1:
        return Outcome(facts={"guide": grid[0]._asdict()})

    from harness.evaluation.decoded_latents import DecodedLatents
    from harness.evaluation.records import records
    from harness.latents import sampling

    source, judge = sampling.load(experiment, work.inputs, work.machine), DecodedLatents(work)
    first = SEARCHED_FROM * source.classes
    indices = range(first, first + experiment.guidance.search_images)
    results, distances = [], {}
    with work.progress(len(grid), "pair") as bar:
        for guide in grid:
            z, how = source.draw(indices, guide, work.map), sampling.how(experiment, guide)
            of_pair = records(judge.generated(z, "guided", how, experiment.generator.training.steps), METRICS)
            distances[guide] = next(r.value for r in of_pair if r.metric == "gfd")
            results += [dataclasses.replace(record, split=f"guidance {guide}") for record in of_pair]
            bar.update()
    return Outcome(results, {"guide": min(distances, key=distances.__getitem__)._asdict()})
