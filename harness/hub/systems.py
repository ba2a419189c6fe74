"""Released tokenizers and generators with a published FID: what `harness.verify` checks. Importable without torch.

The numbers are from the tables of the repositories that release the weights, or from those of papers. An rFID is of
ImageNet's 50,000 validation images at 256 px, a gFID of 50,000 samples at 256 px.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.experiments.experiment import FEWEST, Guide, Sampling
from harness.networks.weight_files import IN_HUB, WeightsFile
from harness.system.errors import unknown

if TYPE_CHECKING:
    from pathlib import Path

    from harness.latents.statistics import LatentStatistics

TOLERANCE = 0.05  # of an rFID
REASON = (
    "our choice: the filter of the crop, bfloat16 and the rounding to 8 bits differ between codes, and papers do not "
    "state them"
)
TABLE_7 = "Table 7 of MacTok (arXiv 2603.29634)"


@dataclass(frozen=True)
class Published:
    """A published distance and whose it is; by how much ours may differ from it, and why by so much."""

    value: float
    source: str
    tolerance: float = TOLERANCE
    reason: str = REASON


@dataclass(frozen=True)
class Weights:
    """A file of weights in a layout of `harness.hub.released`."""

    layout: str
    file: WeightsFile


@dataclass(frozen=True)
class TokenizerSystem:
    """A released tokenizer, whose reconstructions are measured."""

    tokenizer: Weights
    published: Published
    protocol: ClassVar[str] = "rfid-val50k"

    @property
    def files(self) -> tuple[WeightsFile, ...]:
        """All files that it needs."""
        return (self.tokenizer.file,)


@dataclass(frozen=True)
class Factor:
    """Latents that are multiplied by one number for a generator."""

    factor: float
    files: ClassVar[tuple[WeightsFile, ...]] = ()

    def statistics(self, at: dict[WeightsFile, Path], channels: int) -> LatentStatistics:
        """What takes samples back to latents."""
        import torch

        from harness.latents.statistics import LatentStatistics

        return LatentStatistics(torch.zeros(channels), torch.full((channels,), 1 / self.factor))


@dataclass(frozen=True)
class StatisticsFile:
    """Latents whose channels are normalised for a generator by `mean` and `std` in a released file."""

    file: WeightsFile

    @property
    def files(self) -> tuple[WeightsFile, ...]:
        """All files that it needs."""
        return (self.file,)

    def statistics(self, at: dict[WeightsFile, Path], channels: int) -> LatentStatistics:
        """What takes samples back to latents. Raises `Mistake` for a file that has none for so many channels."""
        from harness.latents.statistics import LatentStatistics

        tensors = self.file.read(at[self.file])
        with self.file.fitting(at[self.file]):
            if {name: tensor.numel() for name, tensor in tensors.items()} != dict.fromkeys(("mean", "std"), channels):
                raise RuntimeError(f"it has to hold mean and std of {channels} channels and nothing else")
        return LatentStatistics(tensors["mean"].float().flatten(), tensors["std"].float().flatten())


@dataclass(frozen=True)
class GeneratorSystem:
    """A released generator of a tokenizer's latents, whose samples are measured as they were drawn when published.

    Guidance is on the first `guided_channels` channels, as in the code that drew them.
    """

    generator: Weights
    tokenizer: Weights
    latents: Factor | StatisticsFile
    sampling: Sampling
    guide: Guide
    published: Published
    guided_channels: int = 3
    protocol: ClassVar[str] = "adm256"

    @property
    def files(self) -> tuple[WeightsFile, ...]:
        """All files that it needs."""
        return self.generator.file, self.tokenizer.file, *self.latents.files


System = TokenizerSystem | GeneratorSystem


def _in_hub(layout: str, name: str, repository: str, rfid: float, source: str) -> TokenizerSystem:
    upstream = f"{IN_HUB} of {repository} on the Hugging Face hub"
    weights = Weights(layout, WeightsFile(name, (f"{name}.safetensors",), upstream, repository))
    return TokenizerSystem(weights, Published(rfid, source))


def _named_in_hub(of: str, repository: str, name: str, *others: str) -> WeightsFile:
    """A file of a repository that has more than model.safetensors."""
    return WeightsFile(
        of,
        (name, *others),
        f"{name} of {repository} on the Hugging Face hub",
        command=f"hf download {repository} {name} --local-dir weights",
    )


def _softvq(name: str, rfid: float) -> TokenizerSystem:
    return _in_hub("softvq", name, f"SoftVQVAE/{name}", rfid, "repository continuous_tokenizer")


def _titok(name: str, repository: str, rfid: float) -> TokenizerSystem:
    return _in_hub("titok", name, f"yucornetto/{repository}", rfid, "repository 1d-tokenizer")


VA_VAE_HUB = "hustvl/vavae-imagenet256-f16d32-dinov2"
VA_VAE = Weights("va_vae", _named_in_hub("va-vae", VA_VAE_HUB, f"{VA_VAE_HUB.partition('/')[2]}.pt", "va-vae.pt"))
SD_VAE = Weights(
    "sd_vae",
    WeightsFile(
        "sd-vae",
        ("sd-vae.safetensors",),
        "diffusion_pytorch_model.safetensors of stabilityai/sd-vae-ft-ema on the Hugging Face hub",
    ),
)
LIGHTNINGDIT = "lightningdit-xl-imagenet256-800ep"
SYSTEMS: dict[str, System] = {
    "softvq-l-64": _softvq("softvq-l-64", 0.61),
    "softvq-bl-64": _softvq("softvq-bl-64", 0.65),
    "softvq-b-64": _softvq("softvq-b-64", 0.88),
    "softvq-l-32": _softvq("softvq-l-32", 0.74),
    "softvq-bl-32": _softvq("softvq-bl-32", 0.68),
    "softvq-b-32": _softvq("softvq-b-32", 0.89),
    "maetok-b-128": _in_hub("maetok", "maetok-b-128", "MAETok/maetok-b-128", 0.48, "repository continuous_tokenizer"),
    "titok-l-32": _titok("titok-l-32", "tokenizer_titok_l32_imagenet", 2.21),
    "titok-b-64": _titok("titok-b-64", "tokenizer_titok_b64_imagenet", 1.70),
    "titok-s-128": _titok("titok-s-128", "tokenizer_titok_s128_imagenet", 1.71),  # 1.61 in Table 7 of MacTok
    "titok-ll-32": _titok("titok-ll-32", "tokenizer_titok_ll32_vae_c16_imagenet", 1.61),
    "titok-bl-64": _titok("titok-bl-64", "tokenizer_titok_bl64_vae_c16_imagenet", 1.25),
    "titok-bl-128": _titok("titok-bl-128", "tokenizer_titok_bl128_vae_c16_imagenet", 0.84),
    "va-vae": TokenizerSystem(VA_VAE, Published(0.28, "repository LightningDiT")),
    "sd-vae": TokenizerSystem(SD_VAE, Published(0.62, TABLE_7)),
    "sit-xl-256": GeneratorSystem(
        Weights(
            "sit",
            WeightsFile(
                "sit-xl-256",
                ("SiT-XL-2-256x256.pt", "sit-xl-256.pt"),
                "SiT-XL-2-256x256.pt, which the code of the repository SiT downloads",
            ),
        ),
        SD_VAE,
        Factor(0.18215),
        Sampling(50_000, FEWEST, "euler_maruyama", 250, diffusion="twice_sigma", last_step=0.04, labels="random"),
        Guide(1.5),
        Published(2.06, TABLE_7, 0.28, "users of the repository SiT report 2.34 with these weights and this sampler"),
    ),
    "lightningdit-xl": GeneratorSystem(
        Weights(
            "lightningdit",
            _named_in_hub("lightningdit-xl", f"hustvl/{LIGHTNINGDIT}", f"{LIGHTNINGDIT}.pt", "lightningdit-xl.pt"),
        ),
        VA_VAE,
        StatisticsFile(_named_in_hub("va-vae's latents", VA_VAE_HUB, "latents_stats.pt")),
        # 250 points make 249 steps; s there is 1 - t here, so its shift 0.3 is 1 / 0.3, and s >= 0.125 is t <= 0.875.
        Sampling(50_000, FEWEST, "euler", 249, labels="random", time_shift=1 / 0.3),
        Guide(6.7, 0.0, 0.875),
        Published(
            1.35,
            "repository LightningDiT",
            0.10,
            "users of the repository LightningDiT report 1.45 with these weights and settings",
        ),
    ),
}


def system(name: str) -> System:
    """The system called `name`; raises `Mistake` with the nearest match if there is none."""
    if name not in SYSTEMS:
        raise unknown("system", name, SYSTEMS)
    return SYSTEMS[name]
