"""The model card of a pretrained tokenizer."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import EvalResult

from harness.evaluation.records import about, digits_of, full_title, protocol_in, text_of
from harness.hub.config import Origin, PretrainedConfig
from harness.store.records import Record
from harness.system import plugins
from harness.system.texts import in_cell, plain_markdown

CARD = Path(__file__).with_name("model_card.md.j2")


def warning(origin: Origin) -> str:
    """What a reader has to know before all else; "" if there is nothing."""
    noise = (
        "This model was trained for seconds, to show that everything works. Its images are noise, and its numbers mean "
        "nothing."
    )
    return noise if origin.scale == "smoke" else ""


def bottleneck(config: PretrainedConfig) -> str:
    """The bottleneck in words. The KL weight is known of tokenizers that were trained here."""
    tokenizer, weight = config.tokenizer, f", KL weight {config.tokenizer.gaussian.kl_weight:g}"
    kinds = {
        f"{tokenizer.codes.codes:,} codes": tokenizer.codes.on,
        f"means of {tokenizer.soft_codes.codebooks} x {tokenizer.soft_codes.codes:,} codes": tokenizer.soft_codes.on,
        f"Gaussian{weight if config.origin.scale else ''}": tokenizer.gaussian.on,
    }
    return next((kind for kind, on in kinds.items() if on), "deterministic")


def averaged(config: PretrainedConfig) -> str:
    """What the statistics of the latents are over, in words."""
    over = {
        "the training images": True,
        "their mirror images": config.mirrored,
        "tokens": True,
        "posterior samples": config.tokenizer.gaussian.on,
    }
    *parts, last = [words for words, is_so in over.items() if is_so]
    return f"{', '.join(parts)} and {last}"


def number(record: Record) -> dict[str, str]:
    """A number as a row of the table of the card: its title, its value and the id of its protocol."""
    metric = plugins.load("harness.evaluation.metrics", record.metric, "metric")
    unit = f" ({metric.unit})" if metric.unit else ""
    return {"title": in_cell(_title(record) + unit), "value": text_of(record), "id": record.protocol_id}


def _title(record: Record) -> str:
    return full_title(record.metric, protocol_in(record.protocol_id))


def results(origin: Origin) -> list[EvalResult]:
    """The numbers as metadata that hubs read, every one as in the table of the card, with its protocol."""
    data_set, _, _ = origin.data.partition(":")
    return [
        EvalResult(
            task_type="image-to-image",
            dataset_type=data_set.partition(" ")[0],
            dataset_name=data_set,
            dataset_split=record.split,
            metric_type=record.metric,
            metric_name=_title(record),
            metric_value=round(record.value, digits_of(record.metric, protocol_in(record.protocol_id))),
            metric_args={"protocol": record.protocol_id, "images": record.n},
        )
        for record in origin.records
    ]


def protocols(records: tuple[Record, ...]) -> dict[str, list[str]]:
    """What every metric measures and its protocol, in words, with its ids."""
    texts: dict[str, list[str]] = {}
    for record in records:
        text = plain_markdown(f"**{_title(record)}**, {about(record.metric)}: {record.protocol}")
        texts.setdefault(text, []).append(record.protocol_id)
    return texts
