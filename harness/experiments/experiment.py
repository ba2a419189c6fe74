"""Experiment: every setting that decides a result, as one frozen, checked, printable value.

Device, dtype, threads and paths are not part of it: they are recorded with every run, never hashed.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field
from pydantic.dataclasses import dataclass

from harness.experiments.fields import flat
from harness.system import plugins
from harness.system.errors import unknown
from models import tokenizers
from models.config import STRICT, Positive, Share, Tokenizer, Transformer, Weight
from models.flows import STOCHASTIC
from models.forms import Latents

DEFAULT_NETWORK = "lite2"  # measures if no other network is named; its weights are installed
Steps = Annotated[int, Field(ge=1, le=10**9)]
Decay = Annotated[float, Field(ge=0, lt=1)]
FEWEST = 16  # numbers of fewer images mean nothing
Several = Annotated[int, Field(ge=FEWEST)]
Scales = Annotated[
    tuple[Annotated[float, Field(ge=1, allow_inf_nan=False)], ...],
    BeforeValidator(lambda value: value.split(",") if isinstance(value, str) else value),
    Field(min_length=1),
]

Intervals = Annotated[
    tuple[tuple[Share, Share], ...],
    BeforeValidator(lambda v: _pairs(v) if isinstance(v, str) else v),
    Field(min_length=1),
]


def _pairs(text: str) -> list[list[str]]:
    pairs = [part.split(":") for part in text.split(",")]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError("should be LOW:HIGH, or several of them separated by commas")
    return pairs


@dataclass(frozen=True, config=STRICT)
class Data:
    """A data set and its images."""

    name: str
    """The name of the data set."""
    image_size: Annotated[int, Field(ge=16, le=16_384)]
    """The side of its square images in pixels."""
    train_images: Positive
    """The largest number of images of `train`."""
    val_images: Positive
    """The largest number of images of `val`."""
    argument: str = ""
    """The text after the colon of `--data NAME:ARGUMENT`."""
    crop: Literal["center", "resize_bicubic", "resize_bilinear", "resize_lanczos", "squash"] = "center"
    """How an image becomes square and gets its size."""
    unreadable: Literal["refuse", "skip"] = "refuse"
    """If files do not open or a class has no images: refuse the data set, or skip those files and classes. Either way
    they are named and counted."""
    background: Literal["white", "gray", "black"] = "white"
    """The colour that transparent pixels show."""
    flip: bool = True
    """Whether trainings mirror half of the images left to right."""

    @property
    def full_name(self) -> str:
        """The data set as `--data` names it."""
        return f"{self.name}:{self.argument}" if self.argument else self.name

    @property
    def hashed_flip(self) -> str | None:
        """The part of the keys of trainings that tells `flip`; None by default, so that it is not hashed."""
        return None if self.flip else "off"

    @property
    def limits(self) -> dict[str, int]:
        """The largest number of images of `train` and `val`."""
        return {"train": self.train_images, "val": self.val_images}


@dataclass(frozen=True, config=STRICT)
class Training:
    """Optimisation: AdamW, linear warm-up, cosine, clipped gradients, EMA of weights."""

    steps: Steps
    """Optimisation steps."""
    batch_images: Positive
    """Images of a batch."""
    learning_rate: Weight
    """The peak of the learning rate."""
    warmup_steps: Annotated[int, Field(ge=0)]
    """The steps over which the learning rate rises linearly."""
    final_ratio: Share = 0.0
    """The learning rate at the end of the cosine, as a share of the peak."""
    beta1: Decay = 0.9
    """AdamW's decay of the mean of the gradients."""
    beta2: Decay = 0.95
    """AdamW's decay of the mean of their squares."""
    weight_decay: Weight = 1e-4
    """AdamW's weight decay."""
    clip_norm: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """Gradients of a larger norm are scaled down to it."""
    ema_decay: Decay = 0.9999
    """The decay of the moving average of the weights."""

    def __post_init__(self) -> None:
        if self.warmup_steps >= self.steps:
            raise ValueError(f"training.warmup_steps {self.warmup_steps} is not below training.steps {self.steps}")


@dataclass(frozen=True, config=STRICT)
class Finetuning:
    """Decoder fine-tuning: encoder and latents are frozen, nothing is masked."""

    on: bool = True
    """The decoder is fine-tuned."""
    share: Annotated[float, Field(gt=0, le=1)] = 0.2
    """The share of the tokenizer's steps that it takes."""
    learning_rate: Weight = 1e-4
    """The peak of the learning rate."""

    @property
    def active(self) -> bool:
        return self.on


@dataclass(frozen=True, config=STRICT)
class Repa:
    """Alignment of the hidden tokens of a generator with the teacher (REPA, Yu et al. 2025)."""

    on: bool = False
    """The generator is aligned."""
    weight: Weight = 0.5
    """Weight of the term."""
    depth: Positive = 8
    """The block of the generator after which its hidden tokens are aligned."""
    hidden: Positive = 2048
    """The width of the head that projects them to the teacher's patch tokens."""

    @property
    def active(self) -> bool:
        return self.on


@dataclass(frozen=True, config=STRICT)
class Generator:
    """The generator of latents: its kind, its size, its training."""

    size: Transformer
    training: Training
    on: bool = True
    """A generator is trained."""
    name: str = "sit"
    """The name of the generator in `models.generators`."""
    label_dropout: Share = 0.1
    """The probability that the class of an image is hidden, which guidance needs."""
    qk_norm: bool = False
    """Queries and keys are normalised, in generators that support it."""
    logit_normal: bool = False
    """Times are drawn from the logistic of N(0, 1), else uniformly."""
    direction_weight: Weight | None = None
    """The weight of 1 - cos(v, target), added to the squared error."""
    path: Literal["gvp", "vp"] | None = None
    """The path from data to noise: None is the linear one."""
    target: Literal["noise", "score"] | None = None
    """What the network predicts: None is the velocity."""
    repa: Repa = Repa()

    @property
    def active(self) -> bool:
        return self.on


class Guide(NamedTuple):
    """Classifier-free guidance with one scale for t in [low, high]; scale 1 is no guidance."""

    scale: float
    low: float = 0.0
    high: float = 1.0

    def __str__(self) -> str:
        return f"{self.scale:g} for t in [{self.low:g}, {self.high:g}]" if self.scale != 1 else "1"


UNGUIDED = Guide(1.0)


@dataclass(frozen=True, config=STRICT)
class Guidance:
    """Classifier-free guidance for t in an interval, where t = 0 is the data and t = 1 the noise.

    One scale with one interval is used directly. With several, a search takes the pair with the lowest gFD.
    """

    on: bool = True
    """Samples are also drawn with guidance."""
    scales: Scales = (2.3,)
    """The scale, or several separated by commas; 1 is no guidance."""
    intervals: Intervals = ((0.0, 0.7),)
    """The interval, or several, written LOW:HIGH,LOW:HIGH."""
    search_images: Several = 10_000
    """Samples of every pair of a search."""
    earlier: Annotated[float, Field(gt=0, lt=1)] | None = None
    """A generator is guided away from its own weights after this share of its training (autoguidance: Karras et al.
    2024), and not from itself without a class."""

    def __post_init__(self) -> None:
        for low, high in self.intervals:
            if low >= high:
                raise ValueError(f"guidance.intervals: {low:g} is not below {high:g}")

    @property
    def active(self) -> bool:
        return self.on

    @property
    def searched(self) -> bool:
        """Whether a search chooses the scale and the interval."""
        return len(self.grid) > 1

    @property
    def grid(self) -> list[Guide]:
        """Every scale with every interval; no guidance is one entry."""
        pairs = (UNGUIDED if w == 1 else Guide(w, *interval) for w in self.scales for interval in self.intervals)
        return list(dict.fromkeys(pairs))


@dataclass(frozen=True, config=STRICT)
class Sampling:
    """The number of generated images, their classes, and the sampler."""

    images: Annotated[Several, Field(le=1_000_000)]  # the guidance search takes later images of each class
    """Generated images of a set."""
    curve_images: Several
    """The number of images for each point of gFD over the generator's training."""
    sampler: Literal["euler", "heun", "euler_maruyama", "sde_heun", "dopri5"] = "euler_maruyama"
    """The sampler. `dopri5` chooses its steps by their errors, and takes at most `steps`."""
    steps: Steps = 250
    """Steps of the sampler."""
    diffusion: Literal["twice_sigma", "constant", "decreasing", "increasing_decreasing"] | None = None
    """The coefficient of a stochastic sampler: None is sigma, as papers print it; the released code of SiT, REPA and
    SoftVQ-VAE has `twice_sigma`."""
    last_step: Annotated[float, Field(gt=0, lt=1)] | None = None
    """The length of the last step, which then follows the drift without noise, as in released code (0.04); None: equal
    steps, and the last follows the ODE."""
    labels: Literal["balanced", "random"] = "balanced"
    """Classes in equal shares, or drawn for every image; papers rarely say which, and at 50,000 images it changes gFID
    by 0.1."""
    time_shift: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """s maps the sampler's times t, which have equal steps, to s t / (1 + (s - 1) t); s above 1 moves them towards the
    noise."""

    def __post_init__(self) -> None:
        if self.last_step is not None and self.steps < 2:
            raise ValueError("sampling.last_step: at least two steps are needed")

    @property
    def law(self) -> dict[str, Any]:
        """What decides a sample besides generator, guide and seed; an ODE has no diffusion and no last step."""
        law = {name: getattr(self, name) for name in ("sampler", "steps", "time_shift", "labels")}
        stochastic = self.sampler in STOCHASTIC
        return law | {name: getattr(self, name) if stochastic else None for name in ("diffusion", "last_step")}


@dataclass(frozen=True, config=STRICT)
class Evaluation:
    """How results are measured. No field of it enters the key of a training stage."""

    latents: Literal["mode", "sample"] = "mode"
    """Encode to the posterior's mode or to a sample."""
    measure: Annotated[str | None, BeforeValidator(lambda name: None if name == DEFAULT_NETWORK else name)] = None
    """The network that measures, from `harness.networks.measures`; None is Lite2, and the name of Lite2 becomes
    None."""
    metrics_px: Positive = 128
    """The side to which images are resized for Lite2; other networks have a fixed side and ignore it."""
    kid_subset_images: Several = 100
    """Images of a subset of the kernel distance."""
    kid_subsets: Positive = 100
    """Subsets of the kernel distance."""
    probe_images: Several = 8192
    """Training images of the probes."""
    transfer: str | None = None
    """Another data set, NAME:ARGUMENT, on whose `val` images the finished tokenizer is measured too."""

    def __post_init__(self) -> None:
        if self.measure is not None and self.measure not in (names := plugins.names("harness.networks.measures")):
            raise unknown("measure", self.measure, names)

    @property
    def network(self) -> str:
        """The name of the network that measures, in `harness.networks.measures`."""
        return self.measure or DEFAULT_NETWORK

    @property
    def side_px(self) -> int | None:
        """The side to which images are resized; None if the network has a fixed side."""
        return self.metrics_px if self.measure is None else None

    @property
    def effective_fields(self) -> dict[str, object]:
        """The fields that have an influence, by name."""
        known = {name: value for name, value in flat(self).items() if name != "transfer"}  # the stage's data tells it
        return {name: value for name, value in known.items() if name != "metrics_px" or self.side_px is not None}


@dataclass(frozen=True, config=STRICT)
class Experiment:
    """The complete settings of one row and seed of a study."""

    data: Data
    teacher: str
    """The name of the teacher."""
    tokenizer: Tokenizer
    training: Training
    finetuning: Finetuning
    evaluation: Evaluation
    generator: Generator
    guidance: Guidance
    sampling: Sampling
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """The seed of the tokenizer."""
    generator_seed: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    """The seed of the generator; None: `seed`."""
    sampling_seed: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    """The seed of the samples; None: that of the generator."""
    scale: str = ""
    """The name of its base scale; no stage depends on it."""

    def __post_init__(self) -> None:
        if (name := self.tokenizer.name) is not None and name not in (known := tokenizers.names()):
            raise plugins.no_such("tokenizer", name, known)
        self.latents  # noqa: B018  (raises for a tokenizer that cannot be)
        if self.tokenizer.proxy_codes.on:
            raise ValueError(
                "tokenizer.proxy_codes: a tokenizer in two stages is not trained here; harness.convert makes one of "
                "released weights"
            )

    @property
    def transferred(self) -> Experiment | None:
        """The same on the data set of `evaluation.transfer`; None without one."""
        if self.evaluation.transfer is None:
            return None
        name, _, argument = self.evaluation.transfer.partition(":")
        return dataclasses.replace(self, data=dataclasses.replace(self.data, name=name, argument=argument))

    @property
    def latents(self) -> Latents:
        """The form of the latents of an image."""
        return tokenizers.latents(self.tokenizer, self.data.image_size)

    @property
    def bits(self) -> float | None:
        """How many bits the latents of an image have, if they are codes."""
        codes = self.tokenizer.codes
        return self.latents.tokens * math.log2(codes.codes) if codes.on else None

    @property
    def tokenizer_parameters(self) -> int:
        """Weights of encoder, bottleneck and decoder."""
        return tokenizers.parameters(self.tokenizer, self.data.image_size)

    @property
    def seed_of_generator(self) -> int:
        """The seed of the generator's training."""
        return self.seed if self.generator_seed is None else self.generator_seed

    @property
    def seed_of_samples(self) -> int:
        """The seed of the samples."""
        return self.seed_of_generator if self.sampling_seed is None else self.sampling_seed


def full_path(path: str) -> str:
    """The dotted path of a field; adds `tokenizer.` if it was left out."""
    return f"tokenizer.{path}" if path.partition(".")[0] in {f.name for f in dataclasses.fields(Tokenizer)} else path


def effective_fields(experiment: Experiment) -> dict[str, object]:
    """The fields of `experiment` that have an influence, by dotted path."""
    fields = flat(experiment, active_only=True)
    if not experiment.generator.on:
        fields = {p: v for p, v in fields.items() if not p.startswith(("guidance.", "sampling."))}
    if not experiment.guidance.searched:
        fields.pop("guidance.search_images", None)
    if experiment.evaluation.side_px is None:
        fields.pop("evaluation.metrics_px")
    return fields


def finetuning_schedule(experiment: Experiment) -> Training:
    """The tokenizer's optimisation with `share` of its steps and a warm-up of at most a tenth of them."""
    steps = max(1, round(experiment.finetuning.share * experiment.training.steps))
    return dataclasses.replace(
        experiment.training,
        steps=steps,
        learning_rate=experiment.finetuning.learning_rate,
        warmup_steps=min(experiment.training.warmup_steps, steps // 10),
    )
