"""The training loop of every stage that trains: plain order, exact resume, one file of metrics."""

from __future__ import annotations

import contextlib
import copy
import functools
import math
import statistics
import time
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from harness.experiments.experiment import Training
from harness.planning.stage import Diverged, Stopped, Work, require_even
from harness.system.randomness import Part
from harness.training.checkpoints import Learning, Saving, restore
from harness.training.optimizer import adamw, learning_rate
from models.adaptive import AdaptiveBlock
from models.transformer import Block

if TYPE_CHECKING:
    from harness.training.adversary import Adversary


Model = TypeVar("Model", bound=nn.Module)

LOG_STEPS = 10  # training terms are written every so many steps
VALIDATIONS = 25  # and so often over a training the validation is


class Trained(NamedTuple, Generic[Model]):
    """The moving average of what was trained, and facts about the training to record."""

    averaged: Model
    facts: dict[str, Any]


def train(
    work: Work,
    training: Training,
    model: nn.Module,
    averaged: Model,
    batch: Callable[[int, Part], tuple[Any, ...]],
    weights: Callable[[int], dict[str, float]],
    validate: Callable[[Model], dict[str, float]],
    snapshot: Callable[[int, Model], None] | None = None,
    batches: tuple[int, ...] = (),
    adversary: Adversary | None = None,
) -> Trained[Model]:
    """Trains the parameters of `model` that require gradients; the fact is `step_seconds`, the median of this attempt.

    `averaged` is `model` or a part of it: what is validated, snapshotted and kept. `model(*batch(step, part))` is the
    loss of a part of the global batch, whose terms are means over it, and `weights(step)` their factors. `adversary`
    adds a term of its own and learns beside it; a batch then begins with its images and draws. The processes share the
    parts (data parallelism) and each takes its own one after another (accumulation), so their number changes results by
    rounding only. `batches`, as in `harness.stages`, default to the whole one.

    Raises `Stopped` after saving a checkpoint, `Diverged`, and `Mistake` where a batch cannot be shared evenly.
    """
    processes = work.processes
    accumulate = work.execution.accumulate
    require_even(batches or (training.batch_images,), processes.size, accumulate)
    parts = [Part(processes.rank * accumulate + k, processes.size * accumulate) for k in range(accumulate)]
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = adamw(training, parameters)
    ema = copy.deepcopy(averaged)
    _economise(work, model)
    forward = _distributed(model) if processes.size > 1 else model
    ema.requires_grad_(False).eval()
    learning = Learning(model, optimizer, ema, adversary)
    start = restore(work, learning)
    if start == 0:
        work.run.rewind_metrics()
        work.run.log_metrics(0, validate(ema))
    interval = max(1, training.steps // VALIDATIONS)
    save, seconds = Saving(work, learning), []
    with work.progress(training.steps, "step", start) as bar:
        for step in range(start, training.steps):
            if processes.any(work.should_stop()):
                save(step)
                raise Stopped
            began = time.perf_counter()
            opponent = adversary if adversary is not None and adversary.started(step) else None
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(training, step)
            values = [
                _backward(work, forward, batch(step, part), weights(step), part is parts[-1], opponent)
                for part in parts
            ]
            terms = dict(zip(values[0], processes.mean(_mean(values)).tolist(), strict=True))
            norm = nn.utils.clip_grad_norm_(parameters, training.clip_norm)
            if not math.isfinite(sum(terms.values()) + norm.item()):
                raise Diverged(f"the loss or its gradient is not finite at step {step}")
            optimizer.step()
            optimizer.zero_grad()
            _average(ema, averaged, training.ema_decay)
            if opponent is not None:
                opponent.update(step, terms, processes)
            seconds.append(time.perf_counter() - began)

            done = step + 1
            if done % LOG_STEPS == 0 or done == training.steps:
                logged = {f"train/{name}": value for name, value in terms.items()}
                work.run.log_metrics(done, logged | {"train/gradient_norm": norm.item()})
                bar.show({"loss": f"{terms['loss']:.4f}"})
            if done % interval == 0 or done == training.steps:
                work.run.log_metrics(done, validate(ema))
            if snapshot is not None:
                snapshot(done, ema)
            if save.due:
                save(done)
            bar.update()
    return Trained(ema, {"step_seconds": statistics.median_low(seconds)} if seconds else {})


def _distributed(model: nn.Module) -> nn.Module:
    """`model` with gradients that are means over the processes. Buffers are frozen and need not be sent around."""
    with warnings.catch_warnings():  # newer versions of torch have another name for the option, older ones only this
        warnings.simplefilter("ignore", FutureWarning)
        return DistributedDataParallel(model, broadcast_buffers=False)


def _economise(work: Work, model: nn.Module) -> None:
    """Does to transformer blocks what the execution asks; after copies were made of them."""
    execution = work.execution
    for block in (module for module in model.modules() if isinstance(module, (Block, AdaptiveBlock))):
        forward: Callable[..., Tensor] = block.forward
        if execution.compile:
            forward = torch.compile(forward)
        if execution.checkpointing:
            forward = functools.partial(checkpoint, forward, use_reentrant=False, preserve_rng_state=False)
        block.forward = forward  # type: ignore[method-assign]


def _backward(
    work: Work,
    forward: nn.Module,
    batch: tuple[Any, ...],
    factors: dict[str, float],
    last: bool,
    opponent: Adversary | None,
) -> dict[str, Tensor]:
    """Adds the gradients of one part of a step, and of other processes with the last; returns its terms and loss."""
    alone = forward.no_sync() if isinstance(forward, DistributedDataParallel) and not last else contextlib.nullcontext()
    with alone:
        with work.machine.autocast():
            terms, reconstruction = forward(*batch)
            if opponent is not None:
                terms = {**terms, "adversarial": opponent.term(reconstruction, batch[1])}
        weighted = {name: factors[name] * value for name, value in terms.items()}
        told = dict(terms)
        if opponent is not None:
            of_images = [weighted[name] for name in ("reconstruction", "perceptual") if name in weighted]
            told["adaptive_weight"] = opponent.adaptive_weight(torch.stack(of_images).sum(), terms["adversarial"])
            weighted["adversarial"] = weighted["adversarial"] * told["adaptive_weight"]
        told["loss"] = torch.stack(list(weighted.values())).sum()
        (told["loss"] / work.execution.accumulate).backward()
    if opponent is not None:
        told |= opponent.learn(batch[0], reconstruction, batch[1], work.execution.accumulate)
    return {name: value.detach() for name, value in told.items()}


def _mean(values: list[dict[str, Tensor]]) -> Tensor:
    """The mean of every term over the parts, in order, float64: no digit of the terms is lost."""
    return torch.stack([torch.stack([part[name].double() for part in values]).mean() for name in values[0]])


@torch.no_grad()
def _average(ema: nn.Module, model: nn.Module, decay: float) -> None:
    torch._foreach_lerp_(list(ema.parameters()), list(model.parameters()), 1 - decay)
