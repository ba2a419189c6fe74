"""The training loop of every stage that trains: plain order, exact resume, one file of metrics."""

from __future__ import annotations

import contextlib
import copy
import functools
import hashlib
import io
import math
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from harness.draws import Part
from harness.experiment import Training
from harness.stages import Diverged, Stopped, Work, require_even
from harness.store import Run, replacing
from models.adaptive import AdaptiveBlock
from models.transformer import Block

if TYPE_CHECKING:
    from harness.adversary import Adversary

Model = TypeVar("Model", bound=nn.Module)

CHECKPOINT_SECONDS = 60.0  # at least so long between two, and so that they take a twentieth of the time at most
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
    optimizer = _optimizer(training, parameters)
    ema = copy.deepcopy(averaged)
    _economise(work, model)
    forward = _distributed(model) if processes.size > 1 else model
    ema.requires_grad_(False).eval()
    learning = _Learning(model, optimizer, ema, adversary)
    start = _restore(work, learning)
    if start == 0:
        work.run.rewind_metrics()
        work.run.log_metrics(0, validate(ema))
    interval = max(1, training.steps // VALIDATIONS)
    save, seconds = _Saving(work, learning), []
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


def _optimizer(training: Training, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        parameters,
        lr=training.learning_rate,
        betas=(training.beta1, training.beta2),
        weight_decay=training.weight_decay,
        fused=True,
    )


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


def learning_rate(training: Training, step: int) -> float:
    """Linear warm-up to the peak, then a cosine that would reach `final_ratio` of it one step past the last."""
    if step < training.warmup_steps:
        return training.learning_rate * (step + 1) / training.warmup_steps
    progress = (step - training.warmup_steps) / max(1, training.steps - training.warmup_steps)
    cosine = (1 + math.cos(math.pi * progress)) / 2
    return training.learning_rate * (training.final_ratio + (1 - training.final_ratio) * cosine)


@torch.no_grad()
def _average(ema: nn.Module, model: nn.Module, decay: float) -> None:
    torch._foreach_lerp_(list(ema.parameters()), list(model.parameters()), 1 - decay)


class _Learning(NamedTuple):
    """All that changes in a training."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    ema: nn.Module
    adversary: Adversary | None


class _Saving:
    """Checkpoints of everything that resuming takes; no random state, as every draw is a function of the step."""

    def __init__(self, work: Work, learning: _Learning):
        self.work, self.learning = work, learning
        self.seconds, self.at = 0.0, time.monotonic()

    @property
    def due(self) -> bool:
        """Whether the last one was long ago, for the time that it took."""
        return time.monotonic() - self.at > max(CHECKPOINT_SECONDS, 20 * self.seconds)

    def __call__(self, step: int) -> None:
        began = time.monotonic()
        if self.work.processes.first:
            model, optimizer, ema, adversary = self.learning
            state = {
                "step": step,
                "model": {name: p for name, p in model.named_parameters() if p.requires_grad},
                "optimizer": optimizer.state_dict(),
                "ema": ema.state_dict(),
                "adversary": adversary.state_dict() if adversary is not None else None,
                "metrics": self.work.run.metrics_mark(),
            }
            write_checkpoint(self.work.run.folder / "checkpoint.pt", state)
        self.at = time.monotonic()
        self.seconds = self.at - began


def _restore(work: Work, learning: _Learning) -> int:
    """The step to go on at."""
    state = work.processes.from_first(_saved(work.run) if work.processes.first else None)
    if state is None:
        return 0
    with torch.no_grad():
        for name, p in learning.model.named_parameters():
            if p.requires_grad:
                p.copy_(state["model"][name])
    learning.optimizer.load_state_dict(state["optimizer"])
    learning.ema.load_state_dict(state["ema"])
    if learning.adversary is not None:
        learning.adversary.load_state_dict(state["adversary"])
    return state["step"]


def _saved(run: Run) -> dict[str, Any] | None:
    """The checkpoint, if there is one; a damaged one is told and training starts again, to the same end."""
    path = run.folder / "checkpoint.pt"
    if not path.exists():
        return None
    try:
        state = read_checkpoint(path)
        run.rewind_metrics(state["metrics"])
    except ValueError:
        print(f"{path} is damaged: training starts again from step 0", file=sys.stderr)
        return None
    return state


class _Hashed:
    """A file that is written from front to back, and the checksum of what went into it: nothing is held in memory."""

    def __init__(self, file: BinaryIO):
        self.file, self.sha256 = file, hashlib.sha256()

    def write(self, content: Any) -> int:
        self.sha256.update(content)
        return self.file.write(content)

    def flush(self) -> None:
        self.file.flush()


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Replaces `path` by the checksum of `state` and `state`."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(bytes(32))
        hashed = _Hashed(file)
        torch.save(state, hashed)  # type: ignore[arg-type]
        file.seek(0)
        file.write(hashed.sha256.digest())


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The state in `path`, tensors and plain values only; raises ValueError where the file was damaged."""
    stored = path.read_bytes()
    digest, content = stored[:32], stored[32:]
    if hashlib.sha256(content).digest() != digest:
        raise ValueError(f"{path} is damaged")
    return torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
