"""Released tokenizers and their published reconstruction FID: what `harness.verify` checks. Importable without torch.

The numbers are from the tables of the repositories that release the weights, or from those of papers; all are rFIDs of
ImageNet's 50,000 validation images at 256 px.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.networks.weight_files import IN_HUB, WeightsFile
from harness.system.errors import unknown

PROTOCOL = "rfid-val50k"
TOLERANCE = 0.05  # of an rFID
REASON = (
    "our choice: the filter of the crop, bfloat16 and the rounding to 8 bits differ between codes, and papers do not "
    "state them"
)


@dataclass(frozen=True)
class System:
    """A released tokenizer: its layout in `harness.hub.released`, its weights, its published rFID and whose it is."""

    layout: str
    weights: WeightsFile
    rfid: float
    source: str


def _in_hub(layout: str, name: str, repository: str, rfid: float, source: str) -> System:
    upstream = f"{IN_HUB} of {repository} on the Hugging Face hub"
    return System(layout, WeightsFile(name, (f"{name}.safetensors",), upstream, repository), rfid, source)


def _softvq(name: str, rfid: float) -> System:
    return _in_hub("softvq", name, f"SoftVQVAE/{name}", rfid, "repository continuous_tokenizer")


def _titok(name: str, repository: str, rfid: float) -> System:
    return _in_hub("titok", name, f"yucornetto/{repository}", rfid, "repository 1d-tokenizer")


VA_VAE = "vavae-imagenet256-f16d32-dinov2"
SYSTEMS = {
    "softvq-l-64": _softvq("softvq-l-64", 0.61),
    "softvq-bl-64": _softvq("softvq-bl-64", 0.65),
    "softvq-b-64": _softvq("softvq-b-64", 0.88),
    "softvq-l-32": _softvq("softvq-l-32", 0.74),
    "softvq-bl-32": _softvq("softvq-bl-32", 0.68),
    "softvq-b-32": _softvq("softvq-b-32", 0.89),
    "maetok-b-128": _in_hub("maetok", "maetok-b-128", "MAETok/maetok-b-128", 0.48, "repository continuous_tokenizer"),
    "titok-ll-32": _titok("titok-ll-32", "tokenizer_titok_ll32_vae_c16_imagenet", 1.61),
    "titok-bl-64": _titok("titok-bl-64", "tokenizer_titok_bl64_vae_c16_imagenet", 1.25),
    "titok-bl-128": _titok("titok-bl-128", "tokenizer_titok_bl128_vae_c16_imagenet", 0.84),
    "va-vae": System(
        "va_vae",
        WeightsFile(
            "va-vae",
            (f"{VA_VAE}.pt", "va-vae.pt"),
            f"{VA_VAE}.pt of hustvl/{VA_VAE} on the Hugging Face hub",
            command=f"hf download hustvl/{VA_VAE} {VA_VAE}.pt --local-dir weights",
        ),
        0.28,
        "repository LightningDiT",
    ),
    "sd-vae": System(
        "sd_vae",
        WeightsFile(
            "sd-vae",
            ("sd-vae.safetensors",),
            "diffusion_pytorch_model.safetensors of stabilityai/sd-vae-ft-ema on the Hugging Face hub",
        ),
        0.62,
        "Table 7 of MacTok (arXiv 2603.29634)",
    ),
}


def system(name: str) -> System:
    """The system called `name`; raises `Mistake` with the nearest match if there is none."""
    if name not in SYSTEMS:
        raise unknown("system", name, SYSTEMS)
    return SYSTEMS[name]
