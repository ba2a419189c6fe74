"""All metrics of the tokenizer as it ends up, on every validation split."""

from __future__ import annotations

from typing import Any

from harness.experiment import Experiment
from harness.stages import Outcome, Size, Work, decoder
from harness.store import Record

revision = 1
about = "all metrics, and what reports show of it: reconstructions and latents"
SHOWN = 12  # reconstructions kept for the report, of every validation split


def inputs(experiment: Experiment) -> tuple[str, ...]:
    return ("data", decoder(experiment))


def size(experiment: Experiment) -> Size:
    images, latents = 2 * experiment.data.val_images, experiment.tokenizer.tokens * experiment.tokenizer.channels
    return Size(images, images * latents + 2 * SHOWN * 3 * experiment.data.image_size**2)


def config(experiment: Experiment) -> dict[str, Any]:
    return {"evaluation": experiment.evaluation}


def run(work: Work) -> Outcome:
    """Writes reconstructions.npz (uint8, per split) and latents.npz (posterior means of val, float16, and labels)."""
    import numpy as np

    from harness import data, metrics, weights

    experiment = work.experiment
    folder = work.inputs["data"].checked_folder()
    tokenizer = weights.load_tokenizer(experiment, work.inputs[decoder(experiment)])
    records: list[Record] = []
    shown: dict[str, Any] = {}
    splits = [split for split in data.splits(folder) if split != "train"]
    with work.progress(len(splits), "split") as bar:
        for split in splits:
            work.check_stop()
            m = metrics.Measured(tokenizer, experiment, work.machine, folder, split, experiment.training.steps)
            records += metrics.records(m)
            shown[split] = m.reconstructions[:SHOWN].permute(0, 2, 3, 1).numpy()
            shown[f"{split} originals"] = m.images.images[:SHOWN]
            if split == "val":
                latents = m.posterior.mean.flatten(1).numpy().astype(np.float16)
                np.savez(work.run.folder / "latents.npz", means=latents, labels=m.images.labels)
            bar.update()
    np.savez(work.run.folder / "reconstructions.npz", **shown)
    return Outcome(records)
