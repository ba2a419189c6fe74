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
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from harness.experiments.experiment import Training
from harness.planning.stage import Diverged, Stopped, Work, require_even
from harness.system.randomness import Part
from harness.training.checkpoints import Saving, TrainingState, restore
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


@dataclass(frozen=True)
class Learner(Generic[Model]):
    """What a training trains, and on what.

    `objective(**batch(step, part))` gives the loss of a part of the global batch, whose terms are means over that part,
    and `weights(step)` their factors. `averaged` is the objective or a part of it: what is validated, snapshotted and
    kept. `batches`, as in `harness.stages`, default to the whole one. `opponent` adds a term of its own and learns
    beside the objective; the inputs of a batch then hold the images `x` and the `draws`.
    """

    objective: nn.Module
    averaged: Model
    batch: Callable[[int, Part], dict[str, Any]]
    weights: Callable[[int], dict[str, float]]
    validate: Callable[[Model], dict[str, float]]
    snapshot: Callable[[int, Model], None] | None = None
    batches: tuple[int, ...] = ()
    opponent: Adversary | None = None


def train(work: Work, training: Training, learner: Learner[Model]) -> Trained[Model]:
    """Trains the parameters of the objective that require gradients; the fact is `step_seconds`, the median here.

    The processes share the parts of a batch (data parallelism), and each takes its own one after another
    (accumulation): how many there are changes results by rounding only.

    Raises `Stopped` after saving a checkpoint, `Diverged`, and `Mistake` where a batch cannot be shared evenly.
    """
    loop = _Loop(work, training, learner)
    start = restore(work, loop.state)
    if start == 0:
        work.run.curves.rewind()
        work.run.curves.log(0, learner.validate(loop.ema))
    save, seconds = Saving(work, loop.state), []
    with work.progress(training.steps, "step", start) as bar:
        for step in range(start, training.steps):
            if work.processes.any(work.should_stop()):
                save(step)
                raise Stopped
            began = time.perf_counter()
            terms = loop.step(step)
            seconds.append(time.perf_counter() - began)
            done = step + 1
            if loop.record(done, terms):
                bar.show({"loss": f"{terms['loss']:.4f}"})
            if save.due:
                save(done)
            bar.update()
    return Trained(loop.ema, {"step_seconds": statistics.median_low(seconds)} if seconds else {})


class _Loop(Generic[Model]):
    """A training between two steps."""

    def __init__(self, work: Work, training: Training, learner: Learner[Model]):
        self.work, self.training, self.learner = work, training, learner
        size, accumulate = work.processes.size, work.execution.accumulate
        require_even(learner.batches or (training.batch_images,), size, accumulate)
        self.parts = [Part(work.processes.rank * accumulate + k, size * accumulate) for k in range(accumulate)]
        self.parameters = [p for p in learner.objective.parameters() if p.requires_grad]
        self.optimizer = adamw(training, self.parameters)
        self.ema = copy.deepcopy(learner.averaged)
        _economise(work, learner.objective)
        self.forward = _distributed(learner.objective) if size > 1 else learner.objective
        self.ema.requires_grad_(False).eval()

    @property
    def state(self) -> TrainingState:
        """All that changes."""
        return TrainingState(self.learner.objective, self.optimizer, self.ema, self.learner.opponent)

    def step(self, step: int) -> dict[str, float]:
        """One step of the optimiser; the terms of the loss before their weights, the loss and its gradient's norm."""
        learner, training, processes = self.learner, self.training, self.work.processes
        opponent = learner.opponent if learner.opponent is not None and learner.opponent.started(step) else None
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(training, step)
        values = [self._backward(step, part, opponent) for part in self.parts]
        terms = dict(zip(values[0], processes.mean(_mean(values)).tolist(), strict=True))
        norm = nn.utils.clip_grad_norm_(self.parameters, training.clip_norm).item()
        if not math.isfinite(sum(terms.values()) + norm):
            raise Diverged(f"the loss or its gradient is not finite at step {step}")
        self.optimizer.step()
        self.optimizer.zero_grad()
        _average(self.ema, learner.averaged, training.ema_decay)
        if opponent is not None:
            opponent.update(step, terms, processes)
        return terms | {"gradient_norm": norm}

    def _backward(self, step: int, part: Part, opponent: Adversary | None) -> dict[str, Tensor]:
        """Adds the gradients of one part of a step, and those of other processes with the last; its terms and loss."""
        inputs, factors = self.learner.batch(step, part), self.learner.weights(step)
        accumulate = self.work.execution.accumulate
        with self._alone(part):
            with self.work.machine.autocast():
                terms, reconstruction = self.forward(**inputs)
                if opponent is not None:
                    terms = {**terms, "adversarial": opponent.term(reconstruction, inputs["draws"])}
            weighted = {name: factors[name] * value for name, value in terms.items()}
            logged = dict(terms)
            if opponent is not None:
                logged["adaptive_weight"] = opponent.balance(weighted, terms["adversarial"])
                weighted["adversarial"] = weighted["adversarial"] * logged["adaptive_weight"]
            logged["loss"] = torch.stack(list(weighted.values())).sum()
            (logged["loss"] / accumulate).backward()
        if opponent is not None:
            logged |= opponent.learn(inputs["x"], reconstruction, inputs["draws"], accumulate)
        return {name: value.detach() for name, value in logged.items()}

    def _alone(self, part: Part) -> contextlib.AbstractContextManager[Any]:
        """Without an exchange of gradients between processes, for all parts but the last."""
        if isinstance(self.forward, DistributedDataParallel) and part is not self.parts[-1]:
            return self.forward.no_sync()
        return contextlib.nullcontext()

    def record(self, done: int, terms: dict[str, float]) -> bool:
        """Logs, validates and snapshots after so many steps, each as often as it is due; whether terms were logged."""
        learner, last = self.learner, self.training.steps
        logs = done % LOG_STEPS == 0 or done == last
        if logs:
            self.work.run.curves.log(done, {f"train/{name}": value for name, value in terms.items()})
        if done % max(1, last // VALIDATIONS) == 0 or done == last:
            self.work.run.curves.log(done, learner.validate(self.ema))
        if learner.snapshot is not None:
            learner.snapshot(done, self.ema)
        return logs


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


def _mean(values: list[dict[str, Tensor]]) -> Tensor:
    """The mean of every term over the parts, in order, float64: no digit of the terms is lost."""
    return torch.stack([torch.stack([part[name].double() for part in values]).mean() for name in values[0]])


@torch.no_grad()
def _average(ema: nn.Module, model: nn.Module, decay: float) -> None:
    torch._foreach_lerp_(list(ema.parameters()), list(model.parameters()), 1 - decay)
