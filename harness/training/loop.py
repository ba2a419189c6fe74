"""The training loop of every stage that trains: plain order, exact resume, one file of metrics."""

from __future__ import annotations

import contextlib
import functools
import gc
import math
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from harness.experiments.experiment import Training
from harness.networks.weights import MOMENTS, snapshot_steps
from harness.planning.stage import Stopped, Work, require_even
from harness.system.randomness import Part
from harness.training import ema
from harness.training.checkpoints import CheckpointWriter, TrainingState, restore
from harness.training.divergence import Divergence
from harness.training.optimizer import adamw, learning_rate
from models.layers.adaptive_transformer import AdaptiveBlock
from models.layers.transformer import Block

if TYPE_CHECKING:
    from harness.training.adversary import Adversary


Model = TypeVar("Model", bound=nn.Module)

LOG_STEPS = 10  # steps between two logs of the training terms
VALIDATIONS = 25  # validations in a training, at most


class Trained(NamedTuple, Generic[Model]):
    """The moving average of the trained weights, and the facts of the training to record."""

    averaged: Model
    facts: dict[str, Any]


@dataclass(frozen=True)
class Learner(Generic[Model]):
    """The objective of a training, its data and its validation.

    `objective(**batch(step, part))` returns the terms of the loss for a part of the global batch, as means over that
    part; `weights(step)` are their factors, and `balanced(terms, weighted)` further ones, which depend on the gradients
    of the terms, without and with their factors. The parameters in `resting(step)` are not updated. `averaged` is the
    objective or a module of it: its moving average is validated, kept, and given to `snapshot` at so many `moments`.
    `batches` is explained in `harness.stages`; the default is the whole batch. `opponent` adds its own term and learns
    beside the objective; `batch` must then return the images `x` and `draws`.
    """

    objective: nn.Module
    averaged: Model
    batch: Callable[[int, Part], dict[str, Any]]
    weights: Callable[[int], dict[str, float]]
    validate: Callable[[Model], dict[str, float]]
    snapshot: Callable[[int, Model], None] | None = None
    moments: int = MOMENTS
    batches: tuple[int, ...] = ()
    opponent: Adversary | None = None
    balanced: Callable[[dict[str, Tensor], dict[str, Tensor]], dict[str, Tensor]] = lambda terms, weighted: {}
    resting: Callable[[int], list[nn.Parameter]] = lambda step: []


def train(work: Work, training: Training, learner: Learner[Model]) -> Trained[Model]:
    """Trains the parameters of the objective that require gradients; records the median `step_seconds` as a fact.

    The processes share the parts of a batch (data parallelism), and each takes its own parts one after another
    (accumulation). The number of parts changes results by rounding only if the loss is a mean over images: see
    `Execution`.

    Raises `Stopped` after saving a checkpoint, `Diverged`, and `Mistake` if a batch cannot be shared evenly.
    """
    loop = _Loop(work, training, learner)
    start = restore(work, loop.state)
    if start == 0:
        work.run.curves.rewind()
        work.run.curves.log(0, learner.validate(loop.ema))
    save, pace = CheckpointWriter(work, loop.state), _Pace(start)
    with _little_garbage(), work.progress(training.steps, "step", start) as bar:
        for step in range(start, training.steps):
            if work.processes.any(work.should_stop()):
                loop.check()
                save(step)
                raise Stopped
            terms = loop.step(step)
            done = step + 1
            if done % LOG_STEPS == 0 or done == training.steps:
                bar.show({"loss": f"{loop.log(done, terms)['loss']:.4f}"})
                pace.read(done)
            looked, saves = loop.look(done), save.due
            if saves:
                loop.check()
                save(done)
            if looked or saves:
                pace.restart(done)
            bar.update()
    return Trained(loop.ema, pace.facts)


@contextlib.contextmanager
def _little_garbage() -> Iterator[None]:
    """Python does not search what is there already for garbage: every step makes enough to begin a search."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


class _Pace:
    """The time of a step: the median over intervals that end with waiting for the device."""

    def __init__(self, done: int) -> None:
        self.seconds: list[float] = []
        self.restart(done)

    def restart(self, done: int) -> None:
        """Begins an interval after `done` steps."""
        self.began, self.first = time.perf_counter(), done

    def read(self, done: int) -> None:
        """Ends an interval after `done` steps, right after the device was waited for, and begins the next one."""
        self.seconds.append((time.perf_counter() - self.began) / (done - self.first))
        self.restart(done)

    @property
    def facts(self) -> dict[str, Any]:
        """The fact to record, if any step was made."""
        return {"step_seconds": statistics.median_low(self.seconds)} if self.seconds else {}


class _Loop(Generic[Model]):
    """The state of a training, and its steps."""

    def __init__(self, work: Work, training: Training, learner: Learner[Model]):
        self.work, self.training, self.learner = work, training, learner
        size, accumulate = work.processes.size, work.execution.accumulate
        require_even(learner.batches or (training.batch_images,), size, accumulate)
        self.parts = [Part(work.processes.rank * accumulate + k, size * accumulate) for k in range(accumulate)]
        self.parameters = [p for p in learner.objective.parameters() if p.requires_grad]
        self.optimizer = adamw(training, self.parameters)
        self.ema = ema.copy_of(learner.averaged)
        self.divergence = Divergence("the loss or its gradient", work.machine.device)
        self.snapshots = snapshot_steps(training.steps, learner.moments)
        _economise(work, learner.objective)
        self.forward = _distributed(learner.objective) if size > 1 else learner.objective

    @property
    def state(self) -> TrainingState:
        """The state that a checkpoint holds."""
        return TrainingState(self.learner.objective, self.optimizer, self.ema, self.learner.opponent)

    def step(self, step: int) -> dict[str, Tensor]:
        """Makes one step without waiting for the device.

        Returns the unweighted terms of the loss, the loss and the norm of its gradient.
        """
        learner, training, processes = self.learner, self.training, self.work.processes
        opponent = learner.opponent if learner.opponent is not None and learner.opponent.started(step) else None
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(training, step)
        values = [self._backward(step, part, opponent) for part in self.parts]
        means = processes.mean(_mean(values))
        terms = dict(zip(values[0], means, strict=True))
        norm = nn.utils.clip_grad_norm_(self.parameters, training.clip_norm)
        self.divergence.watch(step, means.sum() + norm)
        for parameter in learner.resting(step):
            parameter.grad = None
        self.optimizer.step()
        self.optimizer.zero_grad()
        ema.update(self.ema, learner.averaged, training.ema_decay)
        if opponent is not None:
            opponent.update(step, terms, processes)
        return terms | {"gradient_norm": norm}

    def _backward(self, step: int, part: Part, opponent: Adversary | None) -> dict[str, Tensor]:
        """Adds the gradients of one part of a step; returns its terms and loss. The last part syncs the processes."""
        inputs, factors = self.learner.batch(step, part), self.learner.weights(step)
        accumulate = self.work.execution.accumulate
        with self._alone(part):
            with self.work.machine.autocast():
                terms, reconstruction = self.forward(**inputs)
                if opponent is not None:
                    terms = {**terms, "adversarial": opponent.term(reconstruction, inputs["draws"])}
            weighted = {name: factors[name] * value for name, value in terms.items()}
            logged = dict(terms)
            for name, factor in self.learner.balanced(terms, weighted).items():
                weighted[name], logged[f"{name}_weight"] = factor * weighted[name], factor
            if opponent is not None:
                logged["adaptive_weight"] = opponent.balance(weighted, terms["adversarial"])
                weighted["adversarial"] = weighted["adversarial"] * logged["adaptive_weight"]
            logged["loss"] = torch.stack(list(weighted.values())).sum()
            (logged["loss"] / accumulate).backward()
        if opponent is not None:
            logged |= opponent.learn(inputs["x"], reconstruction, inputs["draws"], accumulate)
        return {name: value.detach() for name, value in logged.items()}

    def _alone(self, part: Part) -> contextlib.AbstractContextManager[Any]:
        """A context that stops the exchange of gradients between processes, for all parts but the last."""
        if isinstance(self.forward, DistributedDataParallel) and part is not self.parts[-1]:
            return self.forward.no_sync()
        return contextlib.nullcontext()

    def check(self) -> None:
        """Waits for the device; raises `Diverged` if any step so far did."""
        self.divergence.check()
        if self.learner.opponent is not None:
            self.learner.opponent.divergence.check()

    def log(self, done: int, terms: dict[str, Tensor]) -> dict[str, float]:
        """Logs and returns the terms of the last of `done` steps. Raises `Diverged`."""
        self.check()
        values = dict(zip(terms, torch.stack([term.double() for term in terms.values()]).tolist(), strict=True))
        self.work.run.curves.log(done, {f"train/{name}": value for name, value in values.items()})
        return values

    def look(self, done: int) -> bool:
        """Validates and saves a snapshot after `done` steps, if due; returns whether any was. Raises `Diverged`."""
        learner, last = self.learner, self.training.steps
        validates = done % math.ceil(last / VALIDATIONS) == 0 or done == last
        snapshot = learner.snapshot if done in self.snapshots else None
        if not validates and snapshot is None:
            return False
        self.check()
        if validates:
            self.work.run.curves.log(done, learner.validate(self.ema))
        if snapshot is not None:
            snapshot(done, self.ema)
        return True


def _distributed(model: nn.Module) -> nn.Module:
    """`model` with gradients that are means over the processes. Buffers are frozen and are not broadcast."""
    with warnings.catch_warnings():  # newer versions of torch rename the option, older ones know only this name
        warnings.simplefilter("ignore", FutureWarning)
        return DistributedDataParallel(model, broadcast_buffers=False)


def _economise(work: Work, model: nn.Module) -> None:
    """Compiles and checkpoints transformer blocks as `work.execution` says. Copy the model before, not after."""
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
    every = torch.stack([part[name] for name in values[0] for part in values])
    return every.double().unflatten(0, (-1, len(values))).mean(1)
