"""How fast networks are trained, drawn from and evaluated, and how much each choice for speed gains."""

from __future__ import annotations

import copy
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.benchmarks import loading
from harness.benchmarks import scoring as bench_evaluation
from harness.benchmarks.flop_counter import counted_flops
from harness.execution import status
from harness.experiments.experiment import Experiment
from harness.store.runs import Store
from harness.system.machine import Machine, matrix_product_peak, timed

ROUNDS = 7
FEW_ROUNDS = 3  # of calls that take seconds
MANY = 1000


def measure(experiment: Experiment, machine: Machine) -> dict[str, Any]:
    """All measurements of one experiment, on random images, by heading."""
    import torch

    from harness.networks import teachers
    from harness.networks.roles import Roles
    from models.alignment import Features
    from models.objective import Objective

    config, size, batch = experiment.tokenizer, experiment.data.image_size, experiment.training.batch_images
    n = config.image_tokens(size)
    x = machine.put(torch.rand(batch, 3, size, size) * 2 - 1)
    known = teachers.TEACHERS[experiment.teacher]
    widths = known.patch_width, known.class_width
    c, p, s = torch.randn(batch, widths[1]), torch.randn(batch, n, widths[0]), torch.rand(batch, n)
    teacher = Features(machine.put(c), machine.put(p), machine.put(s))
    perceptual = Roles(experiment).perceptual(machine)
    objective = Objective(config, size, widths, perceptual).to(machine.device)
    optimizer = torch.optim.AdamW([p for p in objective.parameters() if p.requires_grad], fused=True)
    step = _training_step(objective, optimizer, x, teacher, machine)

    def reconstruct() -> None:
        with torch.no_grad(), machine.autocast():
            objective.tokenizer.decode(objective.tokenizer.encode(x).mean)

    generate = _sampling(experiment, machine)
    train, of_train, drawn = _generator_step(experiment, machine)
    features = _features(x, experiment.evaluation.metrics_px, machine)
    forward = counted_flops(reconstruct)
    peaks = {dtype: matrix_product_peak(machine, dtype) for dtype in dict.fromkeys((machine.dtype, "float32"))}
    sampled = f"sampling: {experiment.sampling.sampler}, {experiment.sampling.steps} steps"
    unguided = generate(1.0, (0.0, 1.0))
    entries = [
        ("tokenizer: forward, backward, optimiser", step, 3 * forward, batch, machine.dtype),
        ("generator: forward, backward, optimiser", train, 3 * of_train, drawn, machine.dtype),
        (sampled, unguided, counted_flops(unguided), drawn, machine.dtype),
        ("evaluation: reconstruction", reconstruct, forward, batch, machine.dtype),
        ("evaluation: Lite2 features", features, counted_flops(features), batch, "float32"),
    ]
    work = [_line(name, call, flops, images, dtype, peaks[dtype]) for name, call, flops, images, dtype in entries]
    gflops = {dtype: peak / 1e9 for dtype, peak in peaks.items()}
    return {
        "peak_gflops": gflops,
        "work": work,
        "choices": _choices(experiment, machine),
        "loading": loading.throughput(),
        "memory": bench_evaluation.memory(),
        "intervals": bench_evaluation.intervals(),
        "machinery": _machinery(experiment),
    }


def _training_step(objective: Any, optimizer: Any, x: Any, teacher: Any, machine: Machine) -> Callable[[], None]:
    import torch

    from harness.system.randomness import Draws

    def step() -> None:
        with machine.autocast():
            terms = objective(x, Draws(0, "bench", 0, machine.device), teacher).terms
        torch.stack(list(terms.values())).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def _network(experiment: Experiment, machine: Machine) -> Any:
    from harness.networks import weights

    return weights.new_generator(experiment, classes=10).to(machine.device)


def _generator_step(experiment: Experiment, machine: Machine) -> tuple[Callable[[], None], float, int]:
    """A training step of the generator, the FLOPs of its forward pass, and the images of its batch."""
    import torch

    from harness.system.randomness import Draws
    from models import flow

    network, batch = _network(experiment, machine), experiment.generator.training.batch_images
    tokenizer = experiment.tokenizer
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    x_0 = machine.put(torch.randn(batch, tokenizer.tokens, tokenizer.channels))
    y = machine.put(torch.arange(batch) % 10)

    def loss() -> Any:
        with machine.autocast():
            return flow.loss(network, x_0, y, Draws(0, "bench", 0, machine.device))

    def step() -> None:
        loss().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step, counted_flops(loss), batch


def _sampling(experiment: Experiment, machine: Machine) -> Callable[[float, tuple[float, float]], Callable[[], None]]:
    """A function that turns a scale and an interval of guidance into a call that draws one batch with them."""
    import torch

    from harness.latents import sampling
    from models.guidance import guided
    from models.samplers import SAMPLERS

    network, batch = _network(experiment, machine), experiment.generator.training.batch_images
    y = machine.put(torch.arange(batch) % 10)
    noise = sampling.Noise(0, range(batch), sampling.shape(experiment), machine.device)
    sampler, x_1 = SAMPLERS[experiment.sampling.sampler], noise()

    def with_guidance(w: float, interval: tuple[float, float]) -> Callable[[], None]:
        def draw() -> None:
            with torch.no_grad(), machine.autocast():
                sampler(guided(network, y, 10, w, interval), x_1, sampling.times_of(experiment.sampling), noise)

        return draw

    return with_guidance


def _features(x: Any, side: int, machine: Machine) -> Callable[[], None]:
    from harness.data.tensors import to_uint8
    from harness.evaluation import fidelity

    images = to_uint8(x).cpu()

    def features() -> None:
        fidelity.features(images, side, machine)

    return features


def _choices(experiment: Experiment, machine: Machine) -> list[dict[str, Any]]:
    """The gain of each choice for kernels, layouts and guidance over its alternative."""
    import torch
    from torch.nn import functional

    from harness.networks import frozen
    from models.efficientnet import PATCH_STAGE, EfficientNet, PerceptualDistance
    from models.transformer import attention

    size, batch = experiment.tokenizer.encoder, experiment.training.batch_images
    tokens = experiment.tokenizer.image_tokens(experiment.data.image_size) + experiment.tokenizer.tokens
    shape = (3, batch, size.heads, tokens, size.width // size.heads)
    qkv = torch.randn(shape, device=machine.device, dtype=getattr(torch, machine.dtype), requires_grad=True)
    net = frozen.efficientnet_lite(frozen.MEASURE, machine)
    first = copy.deepcopy(net).to(memory_format=torch.contiguous_format)
    side = experiment.evaluation.metrics_px
    images = machine.put(torch.rand(batch, 3, side, side))
    perceptual = PerceptualDistance(frozen.efficientnet_lite(frozen.PERCEPTUAL, machine))
    x = machine.put(torch.rand(batch, 3, experiment.data.image_size, experiment.data.image_size)).requires_grad_()
    part = max(1, round(experiment.tokenizer.perceptual.batch_share * batch))

    def distance(count: int) -> None:
        with machine.autocast():
            perceptual(x[:count].detach(), x[:count]).backward()

    def features(net: EfficientNet, layout: torch.memory_format) -> None:
        with torch.no_grad():
            net.stages(images.contiguous(memory_format=layout), PATCH_STAGE)

    interval, generate = experiment.guidance.intervals[0], _sampling(experiment, machine)
    everywhere, inside = generate(2.0, (0.0, 1.0)), generate(2.0, interval)
    pairs = {
        f"guidance for t in [{interval[0]:g}, {interval[1]:g}], over guidance everywhere": (everywhere, inside),
        f"attention by the rules, over torch's fused kernel ({machine.dtype}, forward and backward)": (
            lambda: functional.scaled_dot_product_attention(*qkv).sum().backward(),
            lambda: attention(*qkv).sum().backward(),
        ),
        "Lite2 with channels last, over channels first": (
            lambda: features(first, torch.contiguous_format),
            lambda: features(net, torch.channels_last),
        ),
        f"perceptual distance on {part} of {batch} images, over all": (lambda: distance(batch), lambda: distance(part)),
    }
    ratios = {name: _ratio(slow, fast) for name, (slow, fast) in pairs.items()}
    scoring = bench_evaluation.against_torch_fidelity(machine)
    ratios |= {name: _ratio(slow, fast, FEW_ROUNDS) for name, (slow, fast) in scoring.items()}
    return [{"choice": name, "ratio": ratio} for name, ratio in ratios.items()]


def _machinery(experiment: Experiment) -> list[dict[str, Any]]:
    """Seconds to plan a study of many rows, and to show the status of many runs."""
    from harness.experiments.fields import with_fields
    from harness.planning.task import tasks

    began = time.perf_counter()
    rows = [with_fields(experiment, {"tokenizer.masking.max_ratio": k / MANY}) for k in range(MANY)]
    planned = tasks(rows)
    planning = time.perf_counter() - began
    with tempfile.TemporaryDirectory() as folder:
        runs = [t.run_in(Store(Path(folder))) for t in planned[:MANY]]
        for run in runs:
            run.begin({}, {})
            run.curves.log(1, {"train/loss": 1.0})
            run.end("failed", "made up")
        began = time.perf_counter()
        status.shown(status.describe(dict.fromkeys(runs, "")), every=True)
        showing = time.perf_counter() - began
    return [
        {"what": f"plan {MANY} rows, {len(planned)} stages", "seconds": planning},
        {"what": f"status of {MANY} runs", "seconds": showing},
    ]


def _line(name: str, call: Callable[[], None], flops: float, images: int, dtype: str, peak: float) -> dict[str, Any]:
    seconds = _seconds(call)
    return {
        "work": name,
        "dtype": dtype,
        "images/s": images / seconds,
        "ms": 1000 * seconds,
        "GFLOP/image": flops / images / 1e9,
        "MFU %": 100 * flops / seconds / peak,
    }


def _seconds(call: Callable[[], None]) -> float:
    call()
    return statistics.median(timed(call) for _ in range(ROUNDS))


def _ratio(slow: Callable[[], object], fast: Callable[[], object], rounds: int = ROUNDS) -> float:
    """The median ratio of alternating calls, because the speed of the machine drifts."""
    slow()
    fast()
    return statistics.median(timed(slow) / timed(fast) for _ in range(rounds))
