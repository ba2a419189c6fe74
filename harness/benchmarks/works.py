"""The works that `harness.bench` times, and a program that times them when told.

`--against REVISION` runs this file with the code of that revision, so it uses only what revisions share. A line on
standard input names a work and a number of calls; the answer has their seconds, or says why it cannot be timed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import itertools
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from harness.experiments.experiment import Experiment
from harness.experiments.fields import with_fields
from harness.experiments.scales import scale, with_variant
from harness.system.errors import Mistake
from harness.system.machine import Machine, this_machine, timed

WARM_UP = 2  # calls before the first that counts
CLASSES = 10


class Timed(NamedTuple):
    """A work: a call of it, how many items that makes or reads, and the dtype of its matrix products."""

    call: Callable[[], object]
    items: int
    dtype: str


def experiment(scale_name: str, variant: str, batch: int | None) -> Experiment:
    """The experiment to time; `batch` replaces the batches of both trainings."""
    chosen = with_variant(scale(scale_name).experiment, variant)
    fields: dict[str, object] = {"training.batch_images": batch, "generator.training.batch_images": batch}
    return chosen if batch is None else with_fields(chosen, fields)


def _tokenizer_step(e: Experiment, machine: Machine) -> Timed:
    """The whole objective, but for the discriminator."""
    return _training(with_fields(e, {"tokenizer.adversarial.on": False}), machine)


def _error_and_kl(e: Experiment, machine: Machine) -> Timed:
    """The plain KL-VAE: squared error and KL alone."""
    off = {f"tokenizer.{part}.on": False for part in ("masking", "latent_masking", "perceptual")}
    return _tokenizer_step(with_fields(_without_heads(e), {**off, "tokenizer.gaussian.on": True}), machine)


def _with_discriminator(e: Experiment, machine: Machine) -> Timed:
    on: dict[str, object] = {"tokenizer.adversarial.on": True, "tokenizer.adversarial.start_step": 0}
    return _training(with_fields(e, on), machine)


def _decoder_step(e: Experiment, machine: Machine) -> Timed:
    """A step of the fine-tuning of the decoder."""
    return _training(with_fields(_without_heads(e), {"tokenizer.adversarial.on": False}), machine, encoder=False)


def _without_heads(e: Experiment) -> Experiment:
    return dataclasses.replace(e, tokenizer=e.tokenizer.without_heads)


def _training(e: Experiment, machine: Machine, encoder: bool = True) -> Timed:
    import torch

    from harness.networks import teachers
    from harness.networks.roles import Roles
    from harness.training.adversary import adversary
    from harness.training.batches import Batches
    from models.objectives.alignment import Features
    from models.objectives.objective import DecoderObjective, Objective

    batch, patches = e.training.batch_images, e.data.image_size // e.tokenizer.patch_size
    images, teacher = Batches(_pixels(e, 4 * batch), batch, 0, "bench", machine), teachers.teacher(e.teacher)
    aligned = e.tokenizer.wants_teacher and encoder
    widths = (teacher.patch_width, teacher.class_width) if aligned else None
    objective: Any = Objective(e.tokenizer, e.data.image_size, widths, Roles(e).perceptual(machine)).to(machine.device)
    trained: Any = objective
    if not encoder:
        objective.requires_grad_(False)
        for parameter in objective.tokenizer.decoder_parameters():
            parameter.requires_grad_(True)
        trained = DecoderObjective(objective)
    online = teacher.load(patches, machine) if aligned and not teacher.cached else None
    sizes = ((batch, teacher.class_width), (batch, patches**2, teacher.patch_width), (batch, patches**2))
    cached = Features(*(machine.put(torch.randn(shape)) for shape in sizes)) if aligned else None

    def inputs(step: int, part: Any) -> dict[str, Any]:
        x, features = images(step, part).x, cached
        if online is not None:
            with torch.no_grad(), machine.autocast():
                features = online(x)
        return {"x": x, "draws": images.draws(step, part), **({"teacher": features} if encoder else {})}

    work = _work(e, machine)
    opponent = adversary(work, objective.tokenizer, e.training)
    return _steps(work, e.training, trained, objective.tokenizer, inputs, objective.weights, opponent)


def _generator_step(e: Experiment, machine: Machine) -> Timed:
    import torch

    from harness.networks import weights
    from harness.training.batches import Order
    from models.flows.flow import VelocityObjective

    g, shape = e.generator, e.latents[:2]
    network = weights.new_generator(e, CLASSES).to(machine.device)
    direction = g.direction_weight is not None
    objective = VelocityObjective(network, g.label_dropout, CLASSES, g.logit_normal, direction, None)
    x_0 = machine.put(torch.randn(g.training.batch_images, *shape))
    y = machine.put(torch.arange(g.training.batch_images) % CLASSES)
    order = Order(4 * g.training.batch_images, g.training.batch_images, 0, "bench", machine)
    factors = {"velocity": 1.0, "direction": g.direction_weight or 0.0}

    def inputs(step: int, part: Any) -> dict[str, Any]:
        return {"x_0": x_0, "y": y, "draws": order.draws(step, part)}

    return _steps(_work(e, machine), g.training, objective, network, inputs, lambda step: factors)


def _steps(
    work: Any, training: Any, objective: Any, averaged: Any, batch: Any, weights: Any, opponent: Any = None
) -> Timed:
    from harness.training.loop import Learner, _Loop

    learner: Any = Learner(objective, averaged, batch, weights, lambda model: {}, opponent=opponent)
    loop, steps = _Loop(work, training, learner), itertools.count()
    return Timed(lambda: loop.step(next(steps)), training.batch_images, work.machine.dtype)


def _work(e: Experiment, machine: Machine) -> Any:
    from harness.planning.stage import Work
    from harness.store.runs import Run

    return Work(e, Run(Path("nowhere")), {}, machine, lambda: False, "")


def _teacher(e: Experiment, machine: Machine) -> Timed:
    import torch

    from harness.data.tensors import to_tensor
    from harness.networks import teachers

    batch = e.training.batch_images
    network = teachers.teacher(e.teacher).load(e.data.image_size // e.tokenizer.patch_size, machine)
    x, cached = machine.put(to_tensor(_pixels(e, batch))), teachers.teacher(e.teacher).cached

    def call() -> None:
        with torch.no_grad(), contextlib.nullcontext() if cached else machine.autocast():
            network(x)

    return Timed(call, batch, "float32" if cached else machine.dtype)


def _latents(e: Experiment, machine: Machine) -> Timed:
    """Encoding."""
    from harness.latents.autoencode import encode

    tokenizer, images = _tokenizer(e, machine), _pixels(e, e.training.batch_images)
    return Timed(lambda: encode(tokenizer, images, machine), len(images), machine.dtype)


def _sampling(e: Experiment, machine: Machine) -> Timed:
    """Drawing latents, without guidance."""
    return _drawing(e, machine, 1.0)


def _guided_sampling(e: Experiment, machine: Machine) -> Timed:
    """Drawing latents, with guidance in its interval."""
    return _drawing(e, machine, 2.0)


def _drawing(e: Experiment, machine: Machine, w: float) -> Timed:
    import torch

    from harness.latents import sampling
    from harness.networks import weights
    from models.flows.guidance import guided
    from models.flows.samplers import SAMPLERS

    network, batch = weights.new_generator(e, CLASSES).to(machine.device).eval(), e.generator.training.batch_images
    y = machine.put(torch.arange(batch) % CLASSES)

    def call() -> None:
        noise = sampling.Noise(0, range(batch), sampling.shape(e), machine.device)
        with torch.no_grad(), machine.autocast():
            velocity = guided(network, y, CLASSES, w, e.guidance.intervals[0])
            SAMPLERS[e.sampling.sampler](velocity, noise(), sampling.times_of(e.sampling), noise)

    return Timed(call, batch, machine.dtype)


def _evaluation(e: Experiment, machine: Machine) -> Timed:
    """Decoding, and the features and logits of the measure."""
    import torch

    from harness.evaluation import fidelity
    from harness.latents.autoencode import decode

    batch = e.training.batch_images
    tokenizer, network = _tokenizer(e, machine), fidelity.network(e.evaluation, machine)
    z = torch.randn(batch, *e.latents[:2])
    return Timed(lambda: fidelity.outputs(decode(tokenizer, z, machine), network), batch, "float32")


def _validation(e: Experiment, machine: Machine) -> Timed:
    """A look at the tokenizer during its training."""
    from harness.evaluation.validation import Validation

    images = min(Validation.IMAGES, 4 * e.training.batch_images)
    tokenizer, validation = _tokenizer(e, machine), Validation(_pixels(e, images), machine)
    return Timed(lambda: validation(tokenizer), images, machine.dtype)


def _tokenizer(e: Experiment, machine: Machine) -> Any:
    from models import tokenizers

    return tokenizers.network(e.tokenizer, e.data.image_size).to(machine.device).eval()


def _pixels(e: Experiment, images: int) -> Any:
    import numpy as np

    return np.random.default_rng(0).integers(0, 256, (images, e.data.image_size, e.data.image_size, 3), np.uint8)


WORKS: dict[str, Callable[[Experiment, Machine], Timed]] = {
    "tokenizer step: error and KL": _error_and_kl,
    "tokenizer step": _tokenizer_step,
    "tokenizer step with discriminator": _with_discriminator,
    "decoder step": _decoder_step,
    "generator step": _generator_step,
    "teacher": _teacher,
    "latents": _latents,
    "sampling": _sampling,
    "guided sampling": _guided_sampling,
    "evaluation": _evaluation,
    "validation": _validation,
}


@contextlib.contextmanager
def ready(e: Experiment) -> Iterator[bool]:
    """A context in which the weights of an experiment can be read; random ones, and True, if any are missing."""
    from harness.networks.random_weights import written
    from harness.networks.roles import Roles

    with contextlib.ExitStack() as stack:
        try:
            Roles(e).require()
        except Mistake:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            stack.enter_context(written([with_fields(e, {"tokenizer.adversarial.on": True})], folder / "weights"))
            yield True
        else:
            yield False


def seconds(call: Callable[[], object], calls: int) -> float:
    """The seconds of some calls, with their work on a GPU."""
    return timed(lambda: [call() for _ in range(calls)])


def serve(e: Experiment, machine: Machine) -> None:
    """Answers the lines on standard input until it ends."""
    name, work = "", None
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            if asked["work"] != name:
                work = None
                gc.collect()
                name, work = asked["work"], WORKS[asked["work"]](e, machine)
                seconds(work.call, WARM_UP)
                _require_own()
            assert work is not None
            answer: dict[str, Any] = {"seconds": seconds(work.call, asked["calls"])}
        except Exception as error:  # a revision may not have it
            name, answer = "", {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


def _require_own() -> None:
    """Raises ImportError for a module that this revision lacks and an installed one has lent."""
    for name, module in sorted(sys.modules.items()):
        path = getattr(module, "__file__", None)
        if name.partition(".")[0] in ("harness", "models") and path and Path.cwd() not in Path(path).parents:
            raise ImportError(f"this revision has no {name}")


if __name__ == "__main__":
    scale_name, variant, batch = sys.argv[1:]
    chosen = experiment(scale_name, variant, int(batch) or None)
    with ready(chosen):
        serve(chosen, this_machine())
