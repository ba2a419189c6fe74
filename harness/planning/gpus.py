"""GPUs with their published peak, and the GPU-hours of model FLOPs."""

from __future__ import annotations

from dataclasses import dataclass

from harness.system.errors import Mistake, unknown


@dataclass(frozen=True)
class Gpu:
    """A GPU and its peak in bfloat16 on dense matrices, in FLOP/s (NVIDIA's data sheets; half of sparse figures)."""

    title: str
    peak: float


GPUS = {
    "h100": Gpu("H100 SXM", 989e12),
    "h200": Gpu("H200 SXM", 989e12),
    "a100": Gpu("A100", 312e12),
}


@dataclass(frozen=True)
class Pace:
    """One GPU at a share of its peak, the model FLOP utilisation (MFU)."""

    gpu: Gpu = GPUS["h100"]
    mfu: float = 0.3

    @classmethod
    def named(cls, name: str, mfu: float) -> Pace:
        """The GPU called `name` at `mfu` in (0, 1]; raises `Mistake`."""
        if name not in GPUS:
            raise unknown("GPU", name, GPUS)
        if not 0 < mfu <= 1:
            raise Mistake(f"--mfu {mfu:g}: should be above 0 and at most 1")
        return cls(GPUS[name], mfu)

    def hours(self, flops: float) -> float:
        """The GPU-hours of model FLOPs."""
        return flops / (self.gpu.peak * self.mfu) / 3600

    def __str__(self) -> str:
        return f"{self.gpu.title} at {100 * self.mfu:g} % MFU"
