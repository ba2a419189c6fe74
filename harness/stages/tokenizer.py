"""Training of a tokenizer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.experiment import Experiment
from harness.stages import Outcome, Size, Work
from harness.weights import snapshot_steps

if TYPE_CHECKING:
    from harness.batches import Batch, Batches
    from harness.draws import Part
    from models.alignment import Features

revision = 1
about = "the tokenizer, its curves and its weights at five moments"
parallel = True
resumes = True
SHOWN = 10  # images whose masks are kept for the report


def inputs(experiment: Experiment) -> tuple[str, ...]:
    return ("data", "teacher_features") if experiment.tokenizer.wants_teacher else ("data",)


def size(experiment: Experiment) -> Size:
    steps, weights = experiment.training.steps, 4 * experiment.tokenizer.parameters(experiment.data.image_size)
    return Size(steps * experiment.training.batch_images, len(snapshot_steps(steps)) * weights)


def config(experiment: Experiment) -> dict[str, Any]:
    return {"tokenizer": experiment.tokenizer, "training": experiment.training, "seed": experiment.seed}


def batches(experiment: Experiment) -> tuple[int, ...]:
    images, perceptual = experiment.training.batch_images, experiment.tokenizer.perceptual
    return (images, round(perceptual.batch_share * images)) if perceptual.on else (images,)


def run(work: Work) -> Outcome:
    from harness import networks, weights
    from harness.batches import Batches
    from harness.collapse import Validation
    from harness.data import open_split
    from harness.draws import seeded
    from harness.training import train
    from models.objective import Objective

    experiment, machine, training = work.experiment, work.machine, work.experiment.training
    folder = work.inputs["data"].checked_folder()
    images = Batches(open_split(folder, "train").images, training.batch_images, experiment.seed, "tokenizer", machine)
    teacher = _Teacher(work) if experiment.tokenizer.wants_teacher else None
    perceptual = networks.perceptual(experiment.tokenizer, machine)  # before seeding: building it draws numbers
    with seeded(experiment.seed, "tokenizer", "initialisation"):
        objective = Objective(
            experiment.tokenizer, experiment.data.image_size, teacher.widths if teacher else None, perceptual
        ).to(machine.device)

    def batch(step: int, part: Part) -> tuple[Any, ...]:
        chosen = images(step, part)
        return chosen.x, images.draws(step, part), teacher.features(chosen) if teacher else None

    if experiment.tokenizer.masking.on:
        _save_masks(work, images, teacher)

    train(
        work,
        training,
        model=objective,
        averaged=objective.tokenizer,
        batch=batch,
        weights=objective.weights,
        validate=Validation(open_split(folder, "val").images, machine),
        snapshot=weights.keep_snapshots(work.run, training.steps),
        batches=batches(experiment),
    )
    parameters = sum(p.numel() for p in objective.tokenizer.parameters())
    return Outcome(facts={"parameters": parameters, "reduction": "squared error: mean over pixels; KL: sum over L x Z"})


def _save_masks(work: Work, batches: Batches, teacher: _Teacher | None) -> None:
    """Writes masks.npz for reports: images of the first step (uint8) and what was hidden of them (bool)."""
    import numpy as np

    from harness.images import to_uint8
    from harness.store import replacing
    from models.masking import image_mask

    tokenizer, batch = work.experiment.tokenizer, batches(0)
    score = teacher.features(batch).s if teacher else None
    tokens = tokenizer.image_tokens(work.experiment.data.image_size)
    mask = image_mask(tokenizer.masking, batches.draws(0), len(batch.x), tokens, score)[:SHOWN].cpu().numpy()
    images = to_uint8(batch.x[:SHOWN]).permute(0, 2, 3, 1).cpu().numpy()
    with replacing(work.run.folder / "masks.npz") as temporary, temporary.open("wb") as file:
        np.savez(file, images=images, masks=mask)


class _Teacher:
    """The cached features of the teacher, memory-mapped."""

    def __init__(self, work: Work):
        import numpy as np

        from harness.networks import TEACHERS

        run = work.inputs["teacher_features"]
        self.device = work.machine.device
        known = TEACHERS[work.experiment.teacher]
        self.widths = known.patch_width, known.class_width
        self.arrays = [np.load(run.file(f"{name}.npy"), mmap_mode="r") for name in ("c", "p", "s")]

    def features(self, batch: Batch) -> Features:
        """The features of a batch's images, mirrored as they are."""
        import torch

        from models.alignment import Features

        places = batch.indices.numpy(), batch.flips.long().cpu().numpy()
        return Features(*(torch.from_numpy(a[places]).float().to(self.device) for a in self.arrays))
