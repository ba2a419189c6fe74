"""Decoder fine-tuning: encoder and latents frozen, nothing masked (MacTok Sec. 4); a likelihood's scale learns on."""

from __future__ import annotations

from typing import Any

from harness.experiments.experiment import Experiment, finetuning_schedule
from harness.networks import flops
from harness.planning.stage import Outcome, Size, Work, tokenizer_batches

revision = 2
about = "the decoder trained further on frozen latents"
parallel = True
resumes = True
batches = tokenizer_batches


def inputs(experiment: Experiment) -> tuple[str, ...]:
    return ("data", "tokenizer")


def size(experiment: Experiment) -> Size:
    steps, weights = finetuning_schedule(experiment).steps, 4 * experiment.tokenizer_parameters
    return Size(steps * experiment.training.batch_images, weights, flops.finetuning(experiment, steps))


def config(experiment: Experiment) -> dict[str, Any]:
    return {"finetuning": experiment.finetuning, "seed": experiment.seed, "flip": experiment.data.hashed_flip}


def run(work: Work) -> Outcome:
    from harness.data.splits import open_split
    from harness.evaluation.validation import Validation
    from harness.networks import weights
    from harness.networks.roles import Roles
    from harness.training.adversary import adversary
    from harness.training.batches import Batches
    from harness.training.loop import Learner, train
    from models.objectives.objective import DecoderObjective, Objective

    experiment, machine, training = work.experiment, work.machine, finetuning_schedule(work.experiment)
    folder = work.inputs["data"].checked_folder()
    images = Batches(
        open_split(folder, "train").images,
        training.batch_images,
        experiment.seed,
        "finetuning",
        machine,
        experiment.data.flip,
    )
    perceptual, without_heads = Roles(experiment).perceptual(machine), experiment.tokenizer.without_heads
    objective = Objective(without_heads, experiment.data.image_size, perceptual=perceptual).to(machine.device)
    tokenizer = objective.tokenizer
    tokenizer.load_state_dict(weights.load_tokenizer(experiment, work.inputs["tokenizer"]).state_dict())
    objective.requires_grad_(False)
    for parameter in tokenizer.decoder_parameters():
        parameter.requires_grad_(True)
    if experiment.tokenizer.likelihood.on:
        objective.log_scale.requires_grad_(True).data.fill_(work.inputs["tokenizer"].fact("log_scale"))

    learner = Learner(
        objective=DecoderObjective(objective),
        averaged=tokenizer,
        batch=lambda step, part: {"x": images(step, part).x, "draws": images.draws(step, part)},
        weights=lambda step: objective.weights(experiment.training.steps + step),  # warm-ups continue
        validate=Validation(open_split(folder, "val").images, machine),
        batches=tokenizer_batches(experiment),
        opponent=adversary(work, tokenizer, training, experiment.training.steps),
    )
    trained = train(work, training, learner)
    weights.save(work.run, weights.WEIGHTS, trained.averaged)
    return Outcome(facts=trained.facts | work.damaged(images.damaged))
