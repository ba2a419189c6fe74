"""Decoder fine-tuning: encoder and latents frozen, nothing masked (MacTok Sec. 4)."""

from __future__ import annotations

import dataclasses
from typing import Any

from harness import flops
from harness.experiment import Experiment, Training
from harness.stages import Outcome, Size, Work
from harness.stages import tokenizer as tokenizer_stage
from models.config import Alignment

revision = 1
about = "the decoder trained further on frozen latents"
parallel = True
resumes = True
batches = tokenizer_stage.batches


def inputs(experiment: Experiment) -> tuple[str, ...]:
    return ("data", "tokenizer")


def size(experiment: Experiment) -> Size:
    steps, weights = schedule(experiment).steps, 4 * experiment.tokenizer.parameters(experiment.data.image_size)
    return Size(steps * experiment.training.batch_images, weights, flops.finetuning(experiment, steps))


def config(experiment: Experiment) -> dict[str, Any]:
    return {"finetuning": experiment.finetuning, "seed": experiment.seed}


def schedule(experiment: Experiment) -> Training:
    """The tokenizer's optimisation, for `share` of its steps and without warm-up of more than a tenth of them."""
    steps = max(1, round(experiment.finetuning.share * experiment.training.steps))
    return dataclasses.replace(
        experiment.training,
        steps=steps,
        learning_rate=experiment.finetuning.learning_rate,
        warmup_steps=min(experiment.training.warmup_steps, steps // 10),
    )


def run(work: Work) -> Outcome:
    from harness import networks, weights
    from harness.batches import Batches
    from harness.collapse import Validation
    from harness.data import open_split
    from harness.training import train
    from models.objective import DecoderObjective, Objective

    experiment, machine, training = work.experiment, work.machine, schedule(work.experiment)
    folder = work.inputs["data"].checked_folder()
    images = Batches(open_split(folder, "train").images, training.batch_images, experiment.seed, "finetuning", machine)
    without_alignment = dataclasses.replace(experiment.tokenizer, alignment=Alignment())
    perceptual = networks.perceptual(experiment.tokenizer, machine)
    objective = Objective(without_alignment, experiment.data.image_size, perceptual=perceptual).to(machine.device)
    tokenizer = objective.tokenizer
    tokenizer.load_state_dict(weights.load_tokenizer(experiment, work.inputs["tokenizer"]).state_dict())
    objective.requires_grad_(False)
    for parameter in tokenizer.decoder_parameters():
        parameter.requires_grad_(True)

    trained = train(
        work,
        training,
        model=DecoderObjective(objective),
        averaged=tokenizer,
        batch=lambda step, part: (images(step, part).x, images.draws(step, part)),
        weights=lambda step: objective.weights(experiment.training.steps + step),  # warm-ups go on where they were
        validate=Validation(open_split(folder, "val").images, machine),
        batches=batches(experiment),
        adversary=tokenizer_stage.adversary(work, tokenizer, training, experiment.training.steps),
    )
    weights.save(work.run, weights.WEIGHTS, trained.averaged)
    return Outcome(facts=trained.facts | work.damaged(images.damaged))
