"""Training of a generator on the latents."""

from __future__ import annotations

from typing import Any

from harness import plugins
from harness.errors import unknown
from harness.experiment import Experiment
from harness.stages import Outcome, Size, Work
from harness.weights import snapshot_steps

revision = 1
about = "the generator, its curves and its weights at five moments"
parallel = True
resumes = True
VALIDATION_IMAGES = 512


def inputs(experiment: Experiment) -> tuple[str, ...]:
    return ("data", "latents")


def size(experiment: Experiment) -> Size:
    generator = experiment.generator
    parameters = 18 * generator.size.depth * generator.size.width**2  # the blocks of SiT; the rest is small
    snapshots = len(snapshot_steps(generator.training.steps))
    return Size(generator.training.steps * generator.training.batch_images, 4 * snapshots * parameters)


def config(experiment: Experiment) -> dict[str, Any]:
    known = plugins.names("models.generators")
    if experiment.generator.name not in known:
        raise unknown("generator", experiment.generator.name, known)
    return {"generator": experiment.generator, "seed": experiment.seed}


def batches(experiment: Experiment) -> tuple[int, ...]:
    return (experiment.generator.training.batch_images,)


def run(work: Work) -> Outcome:
    import numpy as np

    from harness import weights
    from harness.batches import Order
    from harness.draws import seeded
    from harness.latents import Latents
    from harness.training import train
    from models import flow

    experiment, machine, training = work.experiment, work.machine, work.experiment.generator.training
    data = work.inputs["data"]
    classes = len(data.result()["facts"]["classes"])
    latents = Latents(work.inputs["latents"], "train", np.load(data.file("train_labels.npy")), machine.device)
    order = Order(len(latents.mean), training.batch_images, experiment.seed, "generator", machine)
    with seeded(experiment.seed, "generator", "initialisation"):
        network = weights.new_generator(experiment, classes).to(machine.device)

    train(
        work,
        training,
        model=flow.VelocityObjective(network, experiment.generator.label_dropout, classes),
        averaged=network,
        batch=lambda step, part: (*latents.batch(order, step, part), order.draws(step, part)),
        weights=lambda step: {"velocity": 1.0},
        validate=_validation(work),
        snapshot=weights.keep_snapshots(work.run, training.steps),
    )
    return Outcome(facts={"parameters": sum(p.numel() for p in network.parameters())})


def _validation(work: Work) -> Any:
    """The error of the velocity on the latents of val, at times and noises that stay the same."""
    import numpy as np
    import torch

    from harness.draws import Draws
    from harness.latents import Latents
    from models import flow

    labels = np.load(work.inputs["data"].file("val_labels.npy"))
    latents = Latents(work.inputs["latents"], "val", labels, work.machine.device)
    draws = Draws(work.experiment.seed, "generator validation", 0, work.machine.device)
    places = np.arange(min(VALIDATION_IMAGES, len(labels)))
    x_0, y = latents.at(places, 0, draws.normal("latents", len(places), *latents.mean.shape[2:]))

    @torch.no_grad()
    def validate(network: torch.nn.Module) -> dict[str, float]:
        with work.machine.autocast():
            return {"val/velocity": flow.loss(network, x_0, y, draws).item()}

    return validate
