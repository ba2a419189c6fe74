"""What `harness.bench` measures of scoring: time against torch-fidelity, memory against N, coverage of FD∞."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from harness.machine import Machine
    from harness.measures import Seen

IMAGES, PX = 1024, 64
COVERAGE_STUDIES, COVERAGE_IMAGES, COVERAGE_FEATURES = 200, 256, 16


def against_torch_fidelity(machine: Machine) -> dict[str, tuple[Callable[[], None], Callable[[], None]]]:
    """FID, KID, IS, precision and recall of the same images, by Lite2: as torch-fidelity does it, and as we do."""
    import torch
    from torch_fidelity import calculate_metrics, register_feature_extractor
    from torch_fidelity.feature_extractor_base import FeatureExtractorBase

    from harness import fidelity
    from harness.frechet import of_features
    from harness.measures import lite2

    network = lite2.load(machine, PX)

    class Lite2(FeatureExtractorBase):
        """The same network, as torch-fidelity takes one."""

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
            seen = network(images)
            return tuple(getattr(seen, name) for name in self.features_list)

    class Images(torch.utils.data.Dataset[torch.Tensor]):
        def __init__(self, seed: int):
            generator = torch.Generator().manual_seed(seed)
            self.images = torch.randint(256, (IMAGES, 3, 32, 32), generator=generator, dtype=torch.uint8)

        def __len__(self) -> int:
            return IMAGES

        def __getitem__(self, place: int) -> torch.Tensor:
            return self.images[place]

    register_feature_extractor("harness-lite2", Lite2)
    a, b = Images(0), Images(1)

    def theirs() -> None:
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

    def ours(other: Seen) -> None:
        one = fidelity.seen(a.images, network)
        assert one.logits is not None
        of_features(one.features, other.features)
        fidelity.kernel(one.features, other.features, 100, 100)
        fidelity.classifier_score(one.logits)
        fidelity.precision_recall(one.features, other.features)

    kept = fidelity.seen(b.images, network)
    name = f"FID, KID, IS, precision, recall of {IMAGES} images by Lite2"
    return {
        f"{name}, over torch-fidelity": (theirs, lambda: ours(fidelity.seen(b.images, network))),
        f"{name}, the reference seen before, over torch-fidelity": (theirs, lambda: ours(kept)),
    }


def memory() -> list[dict[str, Any]]:
    """The largest resident memory of a process that scores an npz of N and of 4 N images."""
    lines = []
    for n in (IMAGES, 4 * IMAGES):
        with tempfile.TemporaryDirectory() as place:
            done = subprocess.run(
                [sys.executable, "-m", "harness.bench_evaluation", place, str(n)],
                capture_output=True,
                text=True,
                check=True,
            )
        lines.append({"what": f"score {n} images of 64 px", "MiB": float(done.stdout.split()[-1])})
    return lines


def _score(place: Path, n: int) -> float:
    """MiB at the most while `n` images are written, looked at and scored."""
    import numpy as np

    from harness import evaluate
    from harness.imagesets import write_samples

    rng = np.random.default_rng(0)

    def batches() -> Any:
        for _ in range(n // 64):
            yield rng.integers(0, 256, (64, 64, 64, 3), np.uint8)

    for name in ("images", "reference"):
        write_samples(place / f"{name}.npz", batches(), n, (64, 64))
    words = [f"{place}/images.npz", "--reference", f"{place}/reference.npz", "--runs", f"{place}/runs"]
    evaluate.main([*words, "--quiet"])
    return _peak_mib()


def _peak_mib() -> float:
    """The largest resident memory of this process so far."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
    except (OSError, StopIteration):  # not Linux; there it would count what the parent had, too
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def coverage() -> float:
    """How often the 95 % interval of FD∞ holds the true distance, of Gaussians that are known."""
    import numpy as np
    import torch

    from harness.frechet import Gaussian, distance, infinite

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
    """Coverage by simulation of every interval that is no t interval."""
    from reports.bootstrap import optimum_coverage, rank_correlation_coverage

    of_fd = f"FD∞, {COVERAGE_IMAGES} images, {COVERAGE_FEATURES} features, {COVERAGE_STUDIES} studies"
    lines = [{"interval": of_fd, "covers": coverage()}]
    for rows in (5, 7, 10):
        worst = min(rank_correlation_coverage(rows).values())
        lines.append({"interval": f"rank correlation over {rows} rows, the worst of its laws", "covers": worst})
    for places, seeds in ((5, 2), (6, 3)):
        for name, covers in optimum_coverage((seeds,) * places).items():
            lines.append({"interval": f"best of {places} places, {seeds} seeds, {name}", "covers": covers})
    return lines


if __name__ == "__main__":
    print(_score(Path(sys.argv[1]), int(sys.argv[2])))
