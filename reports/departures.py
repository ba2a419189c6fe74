"""Where the objective, the lengths and the measures of a page depart from the paper's, from the fields alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from harness.evaluation.collapse import water_level
from harness.experiments.experiment import Experiment, Training, finetuning_schedule
from harness.experiments.requests import Request
from harness.experiments.scales import scale
from harness.experiments.study import Row
from harness.networks.teachers import TEACHERS
from harness.system import plugins
from models.variants import VARIANTS
from reports.tables import markdown

PAPER = "paper256"
WATER_LEVEL = (
    "The water level of a KL weight is the variance below which a linear model leaves out a direction of the pixels: "
    "the KL weight times half of the number of pixel values. It compares KL weights at different image sizes."
)


def section(request: Request, rows: Sequence[Row]) -> str:
    """The row of `rows` that is compared, and its table; empty if no row has settings of the paper, or none differs.

    A peer, whose variant has a recipe, was published with settings of its own: the paper's are those of other rows.
    """
    of_paper = [row for row in rows if not VARIANTS[row.variant].recipe]
    told = table(request, of_paper[-1]) if of_paper else ""
    note = f"\n\n{WATER_LEVEL}" if "water level" in told else ""
    return f"Of `{of_paper[-1].name}`:\n\n{told}{note}" if told else ""


def table(request: Request, row: Row) -> str:
    """The settings of a row that differ from those of the same row at the paper's scale; empty if none does."""
    at_paper = dataclasses.replace(request, scale=scale(PAPER), data=None, fields=())
    ours, theirs = _settings(request.experiment(row)), _settings(at_paper.experiment(row))
    lines = [
        {"setting": name, "here": value, "paper": theirs[name]} for name, value in ours.items() if value != theirs[name]
    ]
    return markdown(lines) if lines else ""


def _settings(e: Experiment) -> dict[str, str]:
    t, images = e.tokenizer, e.data.train_images
    perceptual, adversarial, share = t.perceptual, t.adversarial, 100 * t.perceptual.batch_share
    features = "LPIPS on VGG-16" if perceptual.lpips else "features of EfficientNet-Lite1"
    return {
        "images": f"{images:,} of `{e.data.name}` at {e.data.image_size} px",
        "image tokens": str(t.image_tokens(e.data.image_size)),
        "latents": f"{t.tokens} x {t.channels}",
        "encoder and decoder": f"{t.encoder} and {t.decoder}{', from DINOv2' if t.dinov2_encoder else ''}",
        "KL weight": f"{t.gaussian.kl_weight:g} (water level {water_level(e):.3g})" if t.gaussian.on else "no KL",
        "perceptual term": f"weight {perceptual.weight:g}, {features}, {share:g} % of every batch"
        if perceptual.on
        else "none",
        "adversarial term": f"weight {adversarial.weight:g} from step {adversarial.start_step:,} on heads of "
        f"{adversarial.features}"
        if adversarial.on
        else "none",
        "alignment": f"weight {t.alignment.weight:g}" if t.alignment.active else "none",
        "teacher": TEACHERS[e.teacher].about,
        "training": _length(e.training, images),
        "decoder fine-tuning": _length(finetuning_schedule(e), images) if e.finetuning.on else "none",
        "generator": f"{e.generator.name} {e.generator.size}, {_length(e.generator.training, images)}"
        if e.generator.on
        else "none",
        "samples": f"{e.sampling.images:,}, {e.sampling.sampler}, {e.sampling.steps} steps"
        if e.generator.on
        else "none",
        "measure": str(plugins.load("harness.networks.measures", e.evaluation.network, "measure").title),
    }


def _length(training: Training, images: int) -> str:
    return (
        f"{training.steps:,} steps of {training.batch_images} ({training.steps * training.batch_images / images:.3g} "
        f"epochs), learning rate {training.learning_rate:g}"
    )
