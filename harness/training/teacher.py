"""The teacher's features of training images: read from a stage that stores them, else computed on demand."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from harness.experiments.experiment import Experiment
from harness.networks import teachers
from harness.networks.weight_files import short_checksum
from harness.planning.stage import Work

if TYPE_CHECKING:
    from harness.training.batches import Batch
    from models.objectives.alignment import Features


def needed(experiment: Experiment) -> tuple[str, ...]:
    """The stages that `TeacherFeatures` reads; raises `Mistake` for an unknown teacher."""
    return ("teacher_features",) if teachers.teacher(experiment.teacher).cached else ()


def online(experiment: Experiment) -> str | None:
    """The teacher's name if no stage stores its features, else None; a stage that runs the teacher hashes it."""
    return None if needed(experiment) else experiment.teacher


def patches(experiment: Experiment) -> int:
    """The side of the grid of image tokens."""
    return experiment.data.image_size // experiment.tokenizer.patch_size


class TeacherFeatures:
    """The teacher's features, for a stage whose inputs include the stages `needed`.

    `widths` are the widths of its patch tokens and class token; the stage has to record `facts`. The constructor raises
    `Mistake` for weights that are missing or do not fit.
    """

    def __init__(self, work: Work):
        known = teachers.teacher(work.experiment.teacher)
        self.widths = known.patch_width, known.class_width
        self.facts = (
            {} if known.cached else {"teacher": known.about, "teacher_weights": short_checksum(known.weights())}
        )
        self._features = _cached(work) if known.cached else _online(work)

    def features(self, batch: Batch) -> Features:
        """The features of the images of a batch, mirrored as the images are, float32 on the machine's device."""
        return self._features(batch)


def _cached(work: Work) -> Callable[[Batch], Features]:
    """Reads features by image and view from the arrays of stage teacher_features, which are memory-mapped."""
    from harness.data.rows import Rows
    from models.objectives.alignment import Features

    run = work.inputs["teacher_features"]
    arrays = [Rows(array, work.machine.device) for array in run.mapped(["c.npy", "p.npy", "s.npy"])]

    def features(batch: Batch) -> Features:
        return Features(*(array[batch.indices, batch.flips.long()].float() for array in arrays))

    return features


def _online(work: Work) -> Callable[[Batch], Features]:
    """Computes features from the images themselves."""
    import torch

    teacher = teachers.teacher(work.experiment.teacher).load(patches(work.experiment), work.machine)

    def features(batch: Batch) -> Features:
        with torch.no_grad(), work.machine.autocast():
            return teacher(batch.x)

    return features
