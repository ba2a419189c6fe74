"""What is hidden in training."""

from __future__ import annotations

from typing import Literal

from pydantic.dataclasses import dataclass

from models.config.sizes import STRICT, Above, Share


@dataclass(frozen=True, config=STRICT)
class Masking:
    """Image masking (MacTok Sec. 3.2): m ~ U[-0.1, M] clipped to [0, M]; floor(m N) image tokens are replaced."""

    on: bool = False
    """Image tokens are hidden in training."""
    max_ratio: Share = 0.7
    """M, the largest share of image tokens that is hidden."""
    semantic_share: Share = 0.0
    """The probability that a draw hides the patches of highest semantic score instead of random patches (the paper's
    mix ratio)."""
    per: Literal["image", "batch"] = "image"
    """Whether m and the choice of semantic masking are drawn per image or per batch; the paper does not specify
    this."""
    min_ratio: Share | None = None
    """It takes the place of 0: m ~ U[`min_ratio`, M]."""
    deviation: Above | None = None
    """m is drawn from a normal law around M with this deviation, cut to [`min_ratio`, M] (MAETok)."""
    round_up: bool = False
    """ceil(m N) tokens are hidden."""
    dropped: bool = False
    """Hidden tokens are left out, not replaced (MAE; l-DeTok)."""

    def __post_init__(self) -> None:
        if self.min_ratio is not None and self.min_ratio > self.max_ratio:
            raise ValueError(f"masking.min_ratio {self.min_ratio:g} is above masking.max_ratio {self.max_ratio:g}")

    @property
    def active(self) -> bool:
        return self.on


@dataclass(frozen=True, config=STRICT)
class LatentMasking:
    """Masking of the latent tokens after sampling, like image masking (the alternative in MacTok Fig. 1 and 7)."""

    on: bool = False
    """Latent tokens are hidden in training."""
    max_ratio: Share = 0.7
    """The largest share of latent tokens that is hidden."""
    per: Literal["image", "batch"] = "image"
    """Whether m is drawn per image or per batch."""

    @property
    def active(self) -> bool:
        return self.on
