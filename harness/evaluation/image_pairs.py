"""Reconstructions that somebody made elsewhere, beside their originals: only metrics of reconstruction see them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from harness.data.image_sets import open_images, require_pairs
from harness.experiments.experiment import FEWEST, Experiment
from harness.experiments.fields import with_fields
from harness.system.errors import Mistake
from harness.system.texts import counted, printable

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from harness.data.splits import Split

METRICS = ["rfd", "psnr", "ssim"]


class ImagePairs:
    """The input of `METRICS`: originals and reconstructions in two folders or npz files, in place of a tokenizer.

    Both have the image size of the experiment, whose evaluation they are measured by; originals in a folder are cropped
    to it. Files of the same names are a pair. Raises `Mistake` for sets that are no pairs, or for too few images.
    """

    paired, split, step = True, "val", 0
    decoded = "reconstructions from files"

    def __init__(self, originals: Path, reconstructions: Path, experiment: Experiment):
        side = experiment.data.image_size
        self.originals = open_images(originals, side, "center" if originals.is_dir() else "none")
        self.reconstructions = open_images(reconstructions, side)
        require_pairs(self.reconstructions, self.originals, "--pair")
        if len(self) < FEWEST:
            raise Mistake(f"{reconstructions} holds {counted(len(self), 'image')}: at least {FEWEST} are needed")
        self.name = printable(reconstructions.resolve().name)
        # So that protocols name the content of the originals.
        self.experiment = with_fields(experiment, {"data.name": "folder", "data.argument": str(originals.resolve())})

    def __len__(self) -> int:
        return len(self.originals)

    @property
    def reference_images(self) -> int:
        """The number of originals in the comparison."""
        return len(self)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the originals, if they are files."""
        return self.originals.names or ()

    @property
    def content(self) -> str:
        """The hash of the originals."""
        return self.originals.digest[:12]

    def pairs(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of originals and their reconstructions, uint8 (n, 3, H, W)."""
        from harness.evaluation.feature_cache import pairs

        return pairs(self.originals, self.reconstructions)

    @cached_property
    def errors(self) -> Tensor:
        """Squared error of every image (n,), mean over pixels on [-1, 1]."""
        import torch

        from harness.evaluation.reconstructed import squared_errors

        return torch.cat([squared_errors(*pair) for pair in self.pairs()])

    @cached_property
    def features(self) -> tuple[Tensor, Tensor]:
        """Features (n, D) of the reconstructions and of the originals."""
        import torch

        from harness.evaluation import fidelity
        from harness.system.machine import this_machine

        network = fidelity.network(self.experiment.evaluation, this_machine(), logits=False)
        seen = [(network(b).features, network(a).features) for a, b in self.pairs()]
        reconstructions, originals = map(torch.cat, zip(*seen, strict=True))
        return reconstructions, originals

    def are_of(self, split: Split) -> bool:
        """Whether the originals are the images of `split`, in any order."""
        from harness.evaluation.fidelity import BATCH

        if len(self) != len(split):
            return False
        starts = range(0, len(split), BATCH)
        return _digests(self.originals.batches(BATCH)) == _digests(split.images[i : i + BATCH] for i in starts)


def _digests(batches: Iterable[np.ndarray]) -> list[bytes]:
    return sorted(hashlib.sha256(image.tobytes()).digest() for batch in batches for image in batch)
