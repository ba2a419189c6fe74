"""Where a pretrained tokenizer comes from, and its metrics."""

from __future__ import annotations

from harness.experiments.experiment import Experiment, finetuning_schedule
from harness.experiments.fields import differences
from harness.experiments.scales import scale, with_variant
from harness.hub.config import Origin, Source
from harness.latents.statistics import STATISTICS, LatentStatistics, load_statistics
from harness.planning.stage import decoder
from harness.planning.task import experiment_of
from harness.store.records import Record
from harness.store.runs import Run, Store
from harness.system import plugins
from harness.system.environment import is_changed
from models.variants import VARIANTS

MEASURING = ("evaluation", "snapshots")  # the stages that measure a tokenizer alone


def origin_of(store: Store, run: Run) -> tuple[Origin, LatentStatistics | None]:
    """Where the tokenizer that `run` trained comes from, and the statistics of its latents; raises `Damaged`.

    The origin holds all numbers of the store that were measured with exactly these weights.
    """
    experiment, runs = experiment_of(run), store.lineage(run)
    measured, latents = _measured(store, run), _latents(store, runs["tokenizer"])
    sources = [*runs.values(), *([latents] if latents else []), *measured]
    origin = Origin(
        _variant(experiment),
        experiment.scale,
        _trained(experiment, run.stage),
        _data(experiment, runs["data"]),
        plugins.load("harness.data.sets", experiment.data.name, "data set").attribution,
        tuple(_source(source) for source in sources),
        _last_records(measured),
    )
    return origin, load_statistics(latents) if latents else None


def _measured(store: Store, run: Run) -> list[Run]:
    """The finished runs that measured the weights of `run`, newest code first."""
    return sorted(_readers(store, run, MEASURING), key=lambda other: (other.stage, -other.config()["revision"]))


def _readers(store: Store, run: Run, stages: tuple[str, ...]) -> list[Run]:
    """The finished runs of some stages that read `run`."""
    return [
        other
        for other in store.runs()
        if other.stage in stages and other.state == "done" and other.config()["inputs"].get(run.stage) == run.key
    ]


def _last_records(measured: list[Run]) -> tuple[Record, ...]:
    """The numbers at the end of the training, each once."""
    latest: dict[tuple[str, str, str], Record] = {}
    for run in measured:
        records = run.records()
        last = max((r.step for r in records), default=0)
        for r in records:
            if r.step == last:
                latest.setdefault((r.metric, r.split, r.protocol_id), r)
    return tuple(latest.values())


def _latents(store: Store, tokenizer: Run) -> Run | None:
    """The finished run that encoded the training images with `tokenizer`, by the newest code."""
    encoded = [run for run in _readers(store, tokenizer, ("latents",)) if (run.folder / STATISTICS).exists()]
    return max(encoded, key=lambda run: run.config()["revision"], default=None)


def _source(run: Run) -> Source:
    attempts = run.status()["attempts"]
    environment = attempts[-1]["environment"] if attempts else {}
    return Source(
        run.stage, run.key, environment.get("commit", "unknown"), is_changed({"uncommitted": "", **environment})
    )


def _variant(experiment: Experiment) -> str:
    """The variant of the scale that differs from `experiment` in the fewest fields, and these fields."""
    base = scale(experiment.scale).experiment
    other = {name: differences(with_variant(base, name).tokenizer, experiment.tokenizer) for name in VARIANTS}
    name = min(other, key=lambda name: len(other[name]))
    return ", ".join([name, *(f"{path} = {value}" for path, (_, value) in other[name].items())])


def _trained(experiment: Experiment, stage: str) -> str:
    training = experiment.training
    text = f"{training.steps} steps of {training.batch_images} images"
    text += "" if experiment.data.flip else ", none of them mirrored"
    if stage == "finetuning":
        text += f", then the decoder alone for {finetuning_schedule(experiment).steps}"
    teacher = f", teacher {experiment.teacher}" if experiment.tokenizer.wants_teacher else ""
    text += f", seed {experiment.seed}{teacher}; moving average of the weights (decay {training.ema_decay:g})"
    if stage != decoder(experiment):
        text += "; its decoder is not fine-tuned: tables measure the tokenizer of the stage finetuning"
    return text


def _data(experiment: Experiment, run: Run) -> str:
    """The data set in words, without its path."""
    facts = run.result()["facts"]
    counts = ", ".join(f"{count} {split}" for split, count in facts["images"].items())
    of_classes = f"{counts} images, {len(facts['classes'])} classes, content {facts['content']}"
    return f"{experiment.data.name} at {experiment.data.image_size} px: {of_classes}"
