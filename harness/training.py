"""The training loop of every stage that trains: plain order, exact resume, one file of metrics."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import io
import math
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from harness.draws import Part
from harness.experiment import Training
from harness.stages import Diverged, Stopped, Work, require_even
from harness.store import Run, replacing

Model = TypeVar("Model", bound=nn.Module)

CHECKPOINT_SECONDS = 60.0
LOG_STEPS = 10  # training terms are written every so many steps
VALIDATIONS = 25  # and so often over a training the validation is


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
) -> Model:
    """Trains the parameters of `model` that require gradients; returns the moving average of `averaged`.

    `averaged` is `model` or a part of it: what is validated, snapshotted and kept. `model(*batch(step, part))` are the
    named terms of the loss, means over a part of the global batch, and `weights(step)` their factors. The processes
    share the parts (data parallelism) and each takes its own one after another (accumulation), so their number changes
    results by rounding only. `batches`, as in `harness.stages`, default to the whole one.

    Raises `Stopped` after saving a checkpoint, `Diverged`, and `Mistake` where a batch cannot be shared evenly.
    """
    processes = work.processes
    require_even(batches or (training.batch_images,), processes.size, work.accumulate)
    of = processes.size * work.accumulate
    parts = [Part(processes.rank * work.accumulate + k, of) for k in range(work.accumulate)]
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = _optimizer(training, parameters)
    ema = copy.deepcopy(averaged)
    forward = _distributed(model) if processes.size > 1 else model
    ema.requires_grad_(False).eval()
    start = _restore(work, model, optimizer, ema)
    if start == 0:
        work.run.rewind_metrics()
        work.run.log_metrics(0, validate(ema))
    interval = max(1, training.steps // VALIDATIONS)
    saved = time.monotonic()
    with work.progress(training.steps, "step", start) as bar:
        for step in range(start, training.steps):
            if processes.any(work.should_stop()):
                _save(work, step, model, optimizer, ema)
                raise Stopped
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(training, step)
            values = [_backward(work, forward, batch(step, part), weights(step), part is parts[-1]) for part in parts]
            terms = dict(zip(values[0], processes.mean(_mean(values)).tolist(), strict=True))
            norm = nn.utils.clip_grad_norm_(parameters, training.clip_norm)
            if not math.isfinite(terms["loss"] + norm.item()):
                raise Diverged(f"the loss or its gradient is not finite at step {step}")
            optimizer.step()
            optimizer.zero_grad()
            _average(ema, averaged, training.ema_decay)

            done = step + 1
            if done % LOG_STEPS == 0 or done == training.steps:
                logged = {f"train/{name}": value for name, value in terms.items()}
                work.run.log_metrics(done, logged | {"train/gradient_norm": norm.item()})
                bar.show({"loss": f"{terms['loss']:.4f}"})
            if done % interval == 0 or done == training.steps:
                work.run.log_metrics(done, validate(ema))
            if snapshot is not None:
                snapshot(done, ema)
            if time.monotonic() - saved > CHECKPOINT_SECONDS:
                _save(work, done, model, optimizer, ema)
                saved = time.monotonic()
            bar.update()
    return ema


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


def _backward(
    work: Work, forward: nn.Module, batch: tuple[Any, ...], factors: dict[str, float], last: bool
) -> dict[str, Tensor]:
    """Adds the gradients of one part of a step, and of other processes with the last; returns its terms and loss."""
    alone = forward.no_sync() if isinstance(forward, DistributedDataParallel) and not last else contextlib.nullcontext()
    with alone:
        with work.machine.autocast():
            terms = forward(*batch)
        loss = torch.stack([factors[name] * value for name, value in terms.items()]).sum()
        (loss / work.accumulate).backward()
    return {name: value.detach() for name, value in {**terms, "loss": loss}.items()}


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


def _save(work: Work, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, ema: nn.Module) -> None:
    """Everything that resuming takes; no random state, as every draw is a function of the step."""
    if not work.processes.first:
        return
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    state = {
        "step": step,
        "model": trained,
        "optimizer": optimizer.state_dict(),
        "ema": ema.state_dict(),
        "metrics": work.run.metrics_mark(),
    }
    write_checkpoint(work.run.folder / "checkpoint.pt", state)


def _restore(work: Work, model: nn.Module, optimizer: torch.optim.Optimizer, ema: nn.Module) -> int:
    """The step to go on at."""
    state = work.processes.from_first(_saved(work.run) if work.processes.first else None)
    if state is None:
        return 0
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.requires_grad:
                p.copy_(state["model"][name])
    optimizer.load_state_dict(state["optimizer"])
    ema.load_state_dict(state["ema"])
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


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Replaces `path` by the checksum of `state` and `state`."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getbuffer()
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(hashlib.sha256(content).digest())
        file.write(content)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The state in `path`, tensors and plain values only; raises ValueError where the file was damaged."""
    stored = path.read_bytes()
    digest, content = stored[:32], stored[32:]
    if hashlib.sha256(content).digest() != digest:
        raise ValueError(f"{path} is damaged")
    return torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
