"""All metrics of the finished tokenizer, on every validation split."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.evaluation.reconstructed import DROPPED_IMAGES
from harness.experiments.experiment import Experiment
from harness.networks import flops
from harness.planning.stage import Outcome, Size, Work, decoder
from harness.store.records import Record

if TYPE_CHECKING:
    import numpy as np

    from harness.evaluation.reconstructed import Reconstructed

revision = 4
about = "all metrics, and the reconstructions and latents that reports show"
SHOWN = 12  # reconstructions of every validation split that are kept for the report
PAIRS, STEPS = 2, 7  # pairs of images to interpolate, and images on the line between two, ends included


def inputs(experiment: Experiment) -> tuple[str, ...]:
    return ("data", "components", decoder(experiment))


def size(experiment: Experiment) -> Size:
    images, latents = 2 * experiment.data.val_images, experiment.latents.numbers
    shown = 2 * SHOWN + PAIRS * STEPS
    dropped = 2 * experiment.latents.tokens * min(DROPPED_IMAGES, experiment.data.val_images)
    work = (images + 2 * experiment.evaluation.probe_images) * flops.of_encoder(experiment)
    work += (2 * images + dropped) * flops.of_decoder(experiment) + 2 * images * flops.measure(experiment.evaluation)
    return Size(images, (images + 4) * latents + shown * 3 * experiment.data.image_size**2, work)


def config(experiment: Experiment) -> dict[str, Any]:
    return {"evaluation": experiment.evaluation.effective_fields}


def run(work: Work) -> Outcome:
    """Writes reconstructions.npz (uint8, per split), latents.npz (posterior means of val, float16, and labels) and
    pictures.npz (see `pictures`).
    """
    import numpy as np

    from harness.data import splits as data
    from harness.evaluation import components, reconstructed
    from harness.evaluation import records as metrics
    from harness.networks import weights

    experiment = work.experiment
    folder = work.inputs["data"].checked_folder()
    tokenizer = weights.load_tokenizer(experiment, work.inputs[decoder(experiment)])
    pixels = components.load(work.inputs["components"])
    records: list[Record] = []
    shown: dict[str, Any] = {}
    splits = data.validation_splits(folder)
    with work.progress(len(splits), "split") as bar:
        for split in splits:
            work.check_stop()
            m = reconstructed.Reconstructed(
                tokenizer, experiment, work.machine, folder, split, experiment.training.steps, pixels
            )
            records += metrics.records(m)
            originals, reconstructions = (images[:SHOWN].permute(0, 2, 3, 1).numpy() for images in next(m.pairs()))
            shown |= {split: reconstructions, f"{split} originals": originals}
            if split == "val":
                latents = m.posterior.mean.flatten(1).numpy().astype(np.float16)
                np.savez(work.run.folder / "latents.npz", means=latents, labels=m.images.labels)
                np.savez(work.run.folder / "pictures.npz", **pictures(m))
            bar.update()
    np.savez(work.run.folder / "reconstructions.npz", **shown)
    return Outcome(records)


def pictures(m: Reconstructed) -> dict[str, Any]:
    """The arrays from which reports draw the latents.

    `kl`, float32 (L, Z): KL divergence from the prior, nats, mean over images; none for a deterministic bottleneck.
    `dropped_errors`, float32 (L,): see `Reconstructed.dropped_errors`. `interpolations`, uint8 (PAIRS, STEPS, H, W, 3).
    """
    arrays = {"dropped_errors": m.dropped_errors.float().numpy(), "interpolations": interpolations(m)}
    if m.posterior.log_variance is not None:
        arrays["kl"] = m.posterior.kl().mean(0).numpy()
    return arrays


def interpolations(m: Reconstructed) -> np.ndarray:
    """Images decoded on straight lines between the posterior means of pairs of images, uint8 (PAIRS, STEPS, H, W, 3).

    The pairs are the first images of the split, in order: the first with the second, the third with the fourth.
    """
    import torch

    from harness.latents.autoencode import decode

    indices = torch.arange(2 * PAIRS) % len(m.posterior.mean)
    first, second = m.posterior.mean[indices].unflatten(0, (PAIRS, 1, 2)).unbind(2)
    z = torch.lerp(first, second, torch.linspace(0, 1, STEPS)[:, None, None])
    images = decode(m.tokenizer, z.flatten(0, 1), m.machine).permute(0, 2, 3, 1)
    return images.unflatten(0, (PAIRS, STEPS)).numpy()
