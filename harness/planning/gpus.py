"""GPUs with their published peak and the share of it that was measured, and the GPU-hours of model FLOPs."""

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

# Model FLOPs as a share of the H100's peak on its data sheet, of an eager step in bfloat16: the whole objective of
# MacTok-B at 256 px in batches of 64 (444 ms), SiT-B on 128 tokens in batches of 256 (115 ms), and encoding with the
# start of its process. Other GPUs and stages were not measured and take what is nearest.
MEASURED = "2026-11-27"
SHARES = {"tokenizer": 0.12, "finetuning": 0.12, "generator": 0.15, "latents": 0.005}
OTHER_STAGES = 0.15
LEAST_MFU = 1e-4  # far below any that was measured; near 0 hours become infinite


@dataclass(frozen=True)
class Pace:
    """One GPU at a share of its peak, the model FLOP utilisation (MFU): `mfu`, or what was measured for a stage."""

    gpu: Gpu = GPUS["h100"]
    mfu: float | None = None

    @classmethod
    def named(cls, name: str, mfu: float | None) -> Pace:
        """The GPU called `name` at `mfu` in [`LEAST_MFU`, 1], or at the measured shares; raises `Mistake`."""
        if name not in GPUS:
            raise unknown("GPU", name, GPUS)
        if mfu is not None and not LEAST_MFU <= mfu <= 1:
            raise Mistake(f"--mfu {mfu:g}: at least {LEAST_MFU:g} and at most 1")
        return cls(GPUS[name], mfu)

    def hours(self, flops: float, stage: str = "") -> float:
        """The GPU-hours of model FLOPs in a stage."""
        share = SHARES.get(stage, OTHER_STAGES) if self.mfu is None else self.mfu
        return flops / (self.gpu.peak * share) / 3600

    def __str__(self) -> str:
        if self.mfu is None:
            return f"{self.gpu.title} at the MFU measured on an H100 ({MEASURED})"
        return f"{self.gpu.title} at {100 * self.mfu:g} % MFU"
