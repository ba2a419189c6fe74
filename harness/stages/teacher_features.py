"""Features of the frozen teacher for every training image and its mirror image, computed once."""

from __future__ import annotations

from typing import Any

from harness.experiments.experiment import Experiment
from harness.networks import flops, teachers
from harness.networks.weight_files import short_checksum
from harness.planning.stage import Outcome, Size, Work
from harness.training.teacher import patches

revision = 2
about = "class token, patch tokens and semantic scores of the frozen teacher"
parallel = True
BATCH = 64


def inputs(experiment: Experiment) -> tuple[str, ...]:
    return ("data",)


def size(experiment: Experiment) -> Size:
    images, tokens = experiment.data.train_images, experiment.tokenizer.image_tokens(experiment.data.image_size)
    teacher = teachers.teacher(experiment.teacher)
    stored = 2 * images * (2 * teacher.class_width + tokens * (2 * teacher.patch_width + 4))
    return Size(images, stored, 2 * images * flops.of_teacher(experiment))


def config(experiment: Experiment) -> dict[str, Any]:
    name = experiment.teacher
    return {"teacher": name, "teacher_code": teachers.code(name), "patches": patches(experiment)}


def run(work: Work) -> Outcome:
    """Writes c, p (float16) and s (float32) with shapes (images, 2, ...): the image and its mirror image."""
    import numpy as np
    import torch

    from harness.data.splits import open_split
    from harness.data.tensors import to_tensor
    from harness.system.files import create

    data = work.inputs["data"]
    train = open_split(data.checked_folder(), "train")
    known = teachers.teacher(work.experiment.teacher)
    teacher = known.load(patches(work.experiment), work.machine)
    arrays: dict[str, np.memmap] = {}

    @torch.no_grad()
    def features(start: int) -> dict[str, np.ndarray]:
        x = work.machine.put(to_tensor(train.images[start : start + BATCH]))
        with work.machine.autocast():
            views = [teacher(x), teacher(x.flip(-1))]
        return {name: torch.stack([getattr(v, name) for v in views], dim=1).cpu().numpy() for name in ("c", "p", "s")}

    starts = range(0, len(train), BATCH)
    with work.progress(len(train), "image") as bar:
        for start, batch in zip(starts, work.map(features, starts), strict=True):
            for name, values in batch.items() if work.processes.first else ():
                if name not in arrays:
                    dtype = np.float32 if name == "s" else np.float16
                    arrays[name] = create(work.run.folder / f"{name}.npy", dtype, (len(train), *values.shape[1:]))
                arrays[name][start : start + len(values)] = values
            bar.update(len(batch["c"]))
    for array in arrays.values():
        array.flush()
    return Outcome(facts={"teacher": known.about, "weights": short_checksum(known.weights())})
