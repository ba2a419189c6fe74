"""Training of a tokenizer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.experiments.experiment import Experiment
from harness.networks import flops, teachers
from harness.networks.weights import snapshot_steps
from harness.planning.stage import Outcome, Size, Work, tokenizer_batches
from harness.system import plugins
from harness.training.teacher import TeacherFeatures, needed, online

if TYPE_CHECKING:
    from harness.system.randomness import Part
    from harness.training.batches import Batches


revision = 3
about = "the tokenizer, its curves and its weights at five moments"
parallel = True
resumes = True
batches = tokenizer_batches

REVISED = {"foundation": 2, "likelihood": 2}  # parts of a tokenizer whose trainings changed alone: by their revision
SHOWN = 10  # images whose masks are kept for the report


def inputs(experiment: Experiment) -> tuple[str, ...]:
    return ("data", *needed(experiment)) if experiment.tokenizer.wants_teacher else ("data",)


def size(experiment: Experiment) -> Size:
    if experiment.tokenizer.outside.on:
        return Size(1, 0)
    steps, weights = experiment.training.steps, 4 * experiment.tokenizer_parameters
    work = flops.tokenizer_training(experiment)
    return Size(steps * experiment.training.batch_images, len(snapshot_steps(steps)) * weights, work)


def config(experiment: Experiment) -> dict[str, Any]:
    if experiment.tokenizer.outside.on:
        return {"outside": experiment.tokenizer}  # nothing is trained, and no seed counts
    tokenizer, training, flip = experiment.tokenizer, experiment.training, experiment.data.hashed_flip
    name = online(experiment) if tokenizer.wants_teacher else None
    teacher = {"teacher": name, "teacher_code": teachers.code(name)}
    code = plugins.code("models.tokenizers", tokenizer.name)
    return {
        "tokenizer": tokenizer,
        "training": training,
        "seed": experiment.seed,
        "flip": flip,
        "code": code,
        "revisions": {part: n for part, n in REVISED.items() if getattr(tokenizer, part).active} or None,
        **teacher,
    }


def run(work: Work) -> Outcome:
    if work.experiment.tokenizer.outside.on:
        return _from_outside(work)
    from harness.data.splits import open_split
    from harness.evaluation.validation import Validation
    from harness.networks import weights
    from harness.networks.roles import Roles
    from harness.system.randomness import seeded
    from harness.training.adversary import DISCRIMINATOR, adversary
    from harness.training.batches import Batches
    from harness.training.loop import Learner, train
    from models.objectives.objective import Objective

    experiment, machine, training = work.experiment, work.machine, work.experiment.training
    folder = work.inputs["data"].checked_folder()
    images = Batches(
        open_split(folder, "train").images,
        training.batch_images,
        experiment.seed,
        "tokenizer",
        machine,
        experiment.data.flip,
    )
    teacher = TeacherFeatures(work) if experiment.tokenizer.wants_teacher else None
    roles = Roles(experiment)
    perceptual = roles.perceptual(machine)  # before seeding: building it draws numbers
    with seeded(experiment.seed, "tokenizer", "initialisation"):
        objective = Objective(
            experiment.tokenizer, experiment.data.image_size, teacher.widths if teacher else None, perceptual
        )
    roles.initialise_encoder(objective.tokenizer)
    objective.to(machine.device)
    facts = roles.facts() | (teacher.facts if teacher else {})

    def batch(step: int, part: Part) -> dict[str, Any]:
        chosen = images(step, part)
        features = teacher.features(chosen) if teacher else None
        return {"x": chosen.x, "draws": images.draws(step, part), "teacher": features}

    if experiment.tokenizer.masking.on:
        _save_masks(work, images, teacher)
    opponent = adversary(work, objective.tokenizer, training)

    learner = Learner(
        objective=objective,
        averaged=objective.tokenizer,
        batch=batch,
        weights=objective.weights,
        validate=Validation(open_split(folder, "val").images, machine),
        snapshot=weights.keep_snapshots(work.run, training.steps),
        batches=tokenizer_batches(experiment),
        opponent=opponent,
        balanced=objective.balanced,
        resting=objective.resting,
    )
    trained = train(work, training, learner)
    if opponent is not None:
        weights.save(work.run, DISCRIMINATOR, opponent.discriminator)
    parameters = sum(p.numel() for p in objective.tokenizer.parameters())
    reduction = "squared error: mean over pixels; KL: sum over L x Z"
    facts |= trained.facts | work.damaged(images.damaged)
    learned = {"log_scale": objective.log_scale.item()} if experiment.tokenizer.likelihood.on else {}
    return Outcome(facts={"parameters": parameters, "reduction": reduction, **learned, **facts})


def _from_outside(work: Work) -> Outcome:
    """A tokenizer that is not trained here: its errors on val, as a training would have ended with."""
    from harness.data.splits import open_split
    from harness.evaluation.validation import Validation
    from harness.networks import outside

    e, of, steps = work.experiment, work.experiment.tokenizer.outside, work.experiment.training.steps
    validate = Validation(open_split(work.inputs["data"].checked_folder(), "val").images, work.machine)
    work.run.curves.rewind()
    work.run.curves.log(steps, validate(outside.wrapped(e.tokenizer, e.data.image_size)))
    return Outcome(facts={"parameters": of.weights, "source": of.source, "reduction": "not trained here"})


def _save_masks(work: Work, batches: Batches, teacher: TeacherFeatures | None) -> None:
    """Writes masks.npz for reports: images of the first step (uint8) and which of their patches are hidden (bool)."""
    import numpy as np

    from harness.data.tensors import to_uint8
    from harness.system.files import replacing
    from models.objectives.masking import image_mask

    tokenizer, batch = work.experiment.tokenizer, batches(0)
    score = teacher.features(batch).s if teacher else None
    tokens = tokenizer.image_tokens(work.experiment.data.image_size)
    mask = image_mask(tokenizer.masking, batches.draws(0), len(batch.x), tokens, score)[:SHOWN].cpu().numpy()
    images = to_uint8(batch.x[:SHOWN]).permute(0, 2, 3, 1).cpu().numpy()
    with replacing(work.run.folder / "masks.npz") as temporary, temporary.open("wb") as file:
        np.savez(file, images=images, masks=mask)
