"""All metrics of generated images: without guidance, with it, and of latents drawn from the prior."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.experiment import Experiment
from harness.stages import Outcome, Size, Work, decoder

if TYPE_CHECKING:
    from torch import Tensor

    from harness.metrics import Generated

revision = 1
about = "gFD and all other metrics of generated images, and the first of them for the report"
SHOWN = 20  # images kept of every set
CHUNK = 1024


def inputs(experiment: Experiment) -> tuple[str, ...]:
    sets = ("samples", "guided_samples") if experiment.guidance.on else ("samples",)
    return ("data", "reference", decoder(experiment), "latents", *sets)


def size(experiment: Experiment) -> Size:
    sets = len(inputs(experiment)) - 3
    return Size(sets * experiment.sampling.images, sets * SHOWN * 3 * experiment.data.image_size**2)


def config(experiment: Experiment) -> dict[str, Any]:
    return {"evaluation": experiment.evaluation, "images": experiment.sampling.images, "seed": experiment.seed}


def run(work: Work) -> Outcome:
    """Writes shown.npz: uint8 (n, H, W, 3), the first images of every set."""
    import numpy as np
    import torch

    from harness import coding, metrics, weights
    from harness.latents import load_statistics
    from harness.sampling import Noise, shape

    experiment = work.experiment
    noise = Noise(experiment.seed, range(experiment.sampling.images), shape(experiment))()
    prior = load_statistics(work.inputs["latents"]).denormalise(noise)
    sets = {"prior": (prior, "latents N(0, I), denormalised: from no generator")}
    for split, stage in {"samples": "samples", "guided": "guided_samples"}.items():
        if stage in work.inputs:
            z = torch.from_numpy(np.load(work.inputs[stage].file("samples.npy")))
            sets[split] = (z, work.inputs[stage].result()["facts"]["how"])
    tokenizer = weights.load_tokenizer(experiment, work.inputs[decoder(experiment)]).to(work.machine.device)
    records = []
    shown: dict[str, Any] = {}
    with work.progress(len(sets), "set") as bar:
        for split, (z, how) in sets.items():
            records += metrics.records(generated(work, z, split, how, experiment.generator.training.steps))
            shown[split] = coding.decode(tokenizer, z[:SHOWN], work.machine).permute(0, 2, 3, 1).numpy()
            bar.update()
    np.savez(work.run.folder / "shown.npz", **shown)
    return Outcome(records)


def generated(work: Work, z: Tensor, split: str, how: str, step: int) -> Generated:
    """The images of latents z (n, L, Z), decoded and looked at part by part, beside the training images."""
    import numpy as np
    import torch

    from harness import coding, fidelity, weights
    from harness.metrics import Generated

    experiment, machine = work.experiment, work.machine
    tokenizer = weights.load_tokenizer(experiment, work.inputs[decoder(experiment)]).to(machine.device)
    parts = []
    for chunk in z.split(CHUNK):
        work.check_stop()
        images = coding.decode(tokenizer, chunk, machine)
        parts.append(fidelity.features(images, experiment.evaluation.metrics_px, machine))
    looked_at = fidelity.Features(*map(torch.cat, zip(*parts, strict=True)))
    reference = torch.from_numpy(np.load(work.inputs["reference"].file("features.npy")))
    return Generated(looked_at, reference, experiment, split, how, step)
