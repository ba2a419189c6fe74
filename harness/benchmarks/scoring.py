"""Benchmarks of scoring: time against torch-fidelity, memory against N, coverage of FD∞."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.experiments.experiment import DEFAULT_NETWORK
from harness.system import plugins

if TYPE_CHECKING:
    import torch

    from harness.networks.frozen import Outputs
    from harness.system.machine import Machine

IMAGES, PX = 1024, 64
# The code of a separate process, whose memory is measured alone; its arguments are a folder and a number of images.
SCORE = """
import sys
from pathlib import Path
from harness import evaluate
from harness.benchmarks.scoring import write_images
from harness.system.machine import peak_memory_bytes

folder, n = Path(sys.argv[1]), int(sys.argv[2])
write_images(folder, n)
words = ["--reference", f"{folder}/reference.npz", "--runs", f"{folder}/runs", "--quiet"]
evaluate.main([f"{folder}/images.npz", *words])
print(peak_memory_bytes() / 2**20)
"""
COVERAGE_STUDIES, COVERAGE_IMAGES, COVERAGE_FEATURES = 200, 256, 16


def against_torch_fidelity(machine: Machine) -> dict[str, tuple[Callable[[], None], Callable[[], None]]]:
    """FID, KID, IS, precision and recall of the same images, by Lite2: by torch-fidelity, and by this harness."""
    from torch_fidelity import calculate_metrics, register_feature_extractor

    from harness.evaluation import fidelity
    from harness.evaluation.frechet import of_features

    network = plugins.load("harness.networks.measures", DEFAULT_NETWORK, "measure").load(machine, PX)

    register_feature_extractor("harness-lite2", _extractor(network))
    a, b = _images(0), _images(1)

    def by_torch_fidelity() -> None:
        calculate_metrics(
            input1=a,
            input2=b,
            feature_extractor="harness-lite2",
            batch_size=fidelity.BATCH,
            cuda=machine.device == "cuda",
            cache=False,
            verbose=False,
            save_cpu_ram=True,
            fid=True,
            kid=True,
            isc=True,
            prc=True,
            kid_subset_size=100,
        )

    def by_harness(other: Outputs) -> None:
        one = fidelity.outputs(a[:], network)
        assert one.logits is not None
        of_features(one.features, other.features)
        fidelity.kernel(one.features, other.features, 100, 100)
        fidelity.classifier_score(one.logits)
        fidelity.precision_recall(one.features, other.features)

    kept = fidelity.outputs(b[:], network)
    name = f"FID, KID, IS, precision, recall of {IMAGES} images by Lite2"
    return {
        f"{name}, over torch-fidelity": (by_torch_fidelity, lambda: by_harness(fidelity.outputs(b[:], network))),
        f"{name}, the features of the reference cached, over torch-fidelity": (
            by_torch_fidelity,
            lambda: by_harness(kept),
        ),
    }


def _extractor(network: Callable[[torch.Tensor], Outputs]) -> type:
    """`network` as a class with the interface that torch-fidelity needs."""
    from torch_fidelity.feature_extractor_base import FeatureExtractorBase

    class Extractor(FeatureExtractorBase):
        """The same network, with the interface of torch-fidelity."""

        def __init__(self, name: str, features_list: list[str], **_: object):
            super().__init__(name, features_list)

        @staticmethod
        def get_provided_features_list() -> tuple[str, ...]:
            return ("features", "logits")

        @staticmethod
        def get_default_feature_layer_for_metric(metric: str) -> str:
            return "logits" if metric == "isc" else "features"

        @staticmethod
        def can_be_compiled() -> bool:
            return False

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
            outputs = network(images)
            return tuple(getattr(outputs, name) for name in self.features_list)

    return Extractor


def _images(seed: int) -> Any:
    """Random images as a data set of torch, uint8 (3, 32, 32) each; a slice of it is a tensor."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (IMAGES, 3, 32, 32), generator=generator, dtype=torch.uint8)

    class Images(torch.utils.data.Dataset[torch.Tensor]):
        def __len__(self) -> int:
            return IMAGES

        def __getitem__(self, index: int | slice) -> torch.Tensor:
            return pixels[index]

    return Images()


def memory() -> list[dict[str, Any]]:
    """The largest resident memory of a process that scores an npz of N and of 4 N images."""
    lines = []
    for n in (IMAGES, 4 * IMAGES):
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(
                [sys.executable, "-c", SCORE, folder, str(n)],
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                check=True,
            )
        lines.append({"what": f"score {n} images of 64 px", "MiB": float(done.stdout.split()[-1])})
    return lines


def write_images(folder: Path, n: int) -> None:
    """Writes `n` random images of 64 px, twice: images.npz and reference.npz."""
    import numpy as np

    from harness.data.adm_files import write_samples

    rng = np.random.default_rng(0)

    def batches() -> Any:
        for _ in range(n // 64):
            yield rng.integers(0, 256, (64, 64, 64, 3), np.uint8)

    for name in ("images", "reference"):
        write_samples(folder / f"{name}.npz", batches(), n, (64, 64))


def coverage() -> float:
    """How often the 95 % interval of FD∞ holds the true distance between two known Gaussians."""
    import numpy as np
    import torch

    from harness.evaluation.frechet import Gaussian, distance, infinite

    rng, covers = np.random.default_rng(0), 0
    d = COVERAGE_FEATURES
    truth = Gaussian(torch.zeros(d, dtype=torch.float64), torch.eye(d, dtype=torch.float64))
    for _ in range(COVERAGE_STUDIES):
        root = np.eye(d) + 0.3 * rng.normal(size=(d, d)) / d**0.5
        mean = 0.2 * rng.normal(size=d)
        true = distance(Gaussian(torch.from_numpy(mean), torch.from_numpy(root @ root.T)), truth)
        drawn = mean + rng.normal(size=(COVERAGE_IMAGES, d)) @ root.T
        low, high = infinite(torch.from_numpy(drawn), truth).interval
        covers += low <= true <= high
    return covers / COVERAGE_STUDIES


def intervals() -> list[dict[str, Any]]:
    """The simulated coverage of every interval that is not a t interval."""
    from reports.statistics.bootstrap import optimum_coverage, rank_correlation_coverage

    of_fd = f"FD∞, {COVERAGE_IMAGES} images, {COVERAGE_FEATURES} features, {COVERAGE_STUDIES} studies"
    lines = [{"interval": of_fd, "covers": coverage()}]
    for rows in (5, 7, 10):
        worst = min(rank_correlation_coverage(rows).values())
        lines.append({"interval": f"rank correlation over {rows} rows, the worst distribution", "covers": worst})
    for points, seeds in ((5, 2), (6, 3)):
        for name, covers in optimum_coverage((seeds,) * points, shared=True).items():
            lines.append({"interval": f"best of {points} points, {seeds} seeds, {name}", "covers": covers})
    return lines
