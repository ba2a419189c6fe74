"""Training of a generator on the latents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.experiments.experiment import Experiment
from harness.networks import flops, teachers
from harness.networks.weights import MOMENTS_OF_GENERATOR, snapshot_steps
from harness.planning.stage import Outcome, Size, Work
from harness.system import plugins
from harness.system.errors import Mistake
from harness.training import teacher as teaching
from models import generators

if TYPE_CHECKING:
    import torch

    from harness.system.randomness import Part
    from models.flows.flow import Repa
    from models.objectives.alignment import Features

revision = 3
about = "the generator, its curves and its weights at twenty moments"
parallel = True
resumes = True
VALIDATION_IMAGES = 512


def inputs(experiment: Experiment) -> tuple[str, ...]:
    return ("data", "latents", *(teaching.needed(experiment) if experiment.generator.repa.on else ()))


def size(experiment: Experiment) -> Size:
    generator = experiment.generator
    # The number of classes is unknown before the data set is built; their embeddings are small.
    codes = experiment.tokenizer.codes.codes
    parameters = generators.parameters(generator.name, generator.size, experiment.latents, 0, codes)
    snapshots = len(snapshot_steps(generator.training.steps, MOMENTS_OF_GENERATOR))
    work = flops.generator_training(experiment)
    return Size(generator.training.steps * generator.training.batch_images, 4 * snapshots * parameters, work)


def config(experiment: Experiment) -> dict[str, Any]:
    generator = experiment.generator
    _check(experiment)
    teacher = teaching.online(experiment) if generator.repa.on else None
    return {
        "generator": generator,
        "code": plugins.code("models.generators", generator.name),
        "teacher": teacher,
        "teacher_code": teachers.code(teacher),
        "seed": experiment.seed_of_generator,
        "flip": experiment.data.hashed_flip,
    }


def _check(experiment: Experiment) -> None:
    """Raises `Mistake` for a generator that does not exist or does not support its settings."""
    generator = experiment.generator
    name, size, known = generator.name, generator.size, plugins.names("models.generators")
    if name not in known:
        raise plugins.no_such("generator", name, known)
    if generator.qk_norm and name not in generators.QK_NORM:
        raise Mistake(f"generator {name} has no qk_norm; these have it: {', '.join(sorted(generators.QK_NORM))}")
    if not generators.is_flow(name) and experiment.guidance.on and experiment.guidance.earlier is not None:
        raise Mistake(f"generator {name} has a law of its own, without guidance.earlier")
    if name in generators.CODED and not experiment.tokenizer.codes.on:
        raise Mistake(f"generator {name} generates codes, and the latents of this tokenizer are none")
    own = [n for n in ("logit_normal", "direction_weight", "path", "target") if getattr(generator, n)]
    own += ["repa.on"] if generator.repa.on else []
    if not generators.is_flow(name) and own:
        raise Mistake(f"generator {name} has a law of its own, without generator.{own[0]}")
    several = 2 if experiment.latents.side is None else 4  # dimensions that an angle turns, for each axis
    if name in generators.ROTARY and size.width // size.heads % several:
        number = "an even number" if several == 2 else "a multiple of 4"
        raise Mistake(f"generator {name}: a head has {size.width} / {size.heads} dimensions: {number} is needed")
    if generator.repa.on and generator.repa.depth > size.depth:
        raise Mistake(f"generator.repa.depth {generator.repa.depth} is beyond the {size.depth} blocks of the generator")


def batches(experiment: Experiment) -> tuple[int, ...]:
    return (experiment.generator.training.batch_images,)


def run(work: Work) -> Outcome:

    from harness.latents.sampling import flow_of
    from harness.latents.shards import Latents
    from harness.networks import weights
    from harness.system.randomness import seeded
    from harness.training.batches import Order
    from harness.training.loop import Learner, train
    from models.flows import flow
    from models.flows.paths import TARGETS

    experiment, machine, training = work.experiment, work.machine, work.experiment.generator.training
    generator, data = experiment.generator, work.inputs["data"]
    classes = len(data.fact("classes"))
    latents = Latents(work.inputs["latents"], "train", data.array("train_labels.npy"), machine.device)
    order = Order(
        len(latents),
        training.batch_images,
        experiment.seed_of_generator,
        "generator",
        machine,
        latents.home,
        experiment.data.flip,
    )
    teacher = _Teacher(work) if generator.repa.on else None
    with seeded(experiment.seed_of_generator, "generator", "initialisation"):
        network = weights.new_generator(experiment, classes)
        repa = teacher.repa() if teacher else None
    direction = generator.direction_weight is not None
    objective: torch.nn.Module
    if generators.is_flow(generator.name):
        objective = flow.VelocityObjective(
            network, generator.label_dropout, classes, generator.logit_normal, direction, repa, flow_of(generator)
        )
    else:
        if generator.name in generators.CODED:
            network.get_buffer("book").copy_(latents.codebook.to("cpu"))
        objective = flow.OwnObjective(network, generator.label_dropout, classes)
    objective.to(machine.device)

    def batch(step: int, part: Part) -> dict[str, Any]:
        x_0, y = latents.batch(order, step, part)
        features = teacher.features(step, part) if teacher else None
        return {"x_0": x_0, "y": y, "draws": order.draws(step, part), "teacher": features}

    factors = {
        **dict.fromkeys((*TARGETS, "cross_entropy"), 1.0),
        "direction": generator.direction_weight or 0.0,
        "repa": generator.repa.weight,
    }
    learner = Learner(
        objective=objective,
        averaged=network,
        batch=batch,
        weights=lambda step: factors,
        validate=_validation(work),
        snapshot=weights.keep_snapshots(work.run, training.steps),
        moments=MOMENTS_OF_GENERATOR,
    )
    train(work, training, learner)
    facts = teacher.teaching.facts if teacher else {}
    return Outcome(facts={"parameters": sum(p.numel() for p in network.parameters()), **facts})


class _Teacher:
    """The teacher's features of the images of a batch, for REPA."""

    def __init__(self, work: Work):
        from harness.data.splits import open_split
        from harness.training.batches import Batches

        self.generator, self.teaching = work.experiment.generator, teaching.TeacherFeatures(work)
        images = open_split(work.inputs["data"].checked_folder(), "train").images
        training, seed = self.generator.training, work.experiment.seed_of_generator
        flip = work.experiment.data.flip
        self.images = Batches(images, training.batch_images, seed, "generator", work.machine, flip)

    def repa(self) -> Repa:
        """The term of the loss that reads the features, with a new head."""
        from models.flows import flow

        patch_width, _ = self.teaching.widths
        repa = self.generator.repa
        return flow.Repa(repa.depth, self.generator.size.width, repa.hidden, patch_width)

    def features(self, step: int, part: Part) -> Features:
        """The features of the images in a part of a step's batch, mirrored as their latents are."""
        return self.teaching.features(self.images(step, part))


def _validation(work: Work) -> Any:
    """Measures the error of the velocity on the latents of val, at fixed times and noises."""
    import torch

    from harness.latents.sampling import flow_of
    from harness.latents.shards import Latents
    from harness.system.randomness import Draws
    from models.flows import flow

    labels = work.inputs["data"].array("val_labels.npy")
    latents = Latents(work.inputs["latents"], "val", labels, work.machine.device)
    draws = Draws(work.experiment.seed_of_generator, "generator validation", 0, work.machine.device)
    path, own = flow_of(work.experiment.generator), not generators.is_flow(work.experiment.generator.name)
    indices = torch.arange(min(VALIDATION_IMAGES, len(labels)))
    noise = draws.normal("latents", len(indices), *latents.shape[2:])
    x_0, y = latents.at(indices, torch.zeros_like(indices), noise)

    @torch.no_grad()
    def validate(network: torch.nn.Module) -> dict[str, float]:
        with work.machine.autocast():
            if own:
                return {f"val/{name}": value.item() for name, value in network.loss(x_0, y, draws).terms.items()}  # type: ignore[operator]
            return {"val/velocity": flow.loss(network, x_0, y, draws, path).item()}

    return validate
