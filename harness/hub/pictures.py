"""The picture of a pretrained tokenizer: validation images above their reconstructions."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from harness.hub.tokenizer import PretrainedTokenizer

PICTURE = "reconstructions.png"
SHOWN = 8  # images


def draw(tokenizer: PretrainedTokenizer, images: np.ndarray) -> bytes:
    """A PNG of images, uint8 (n, S, S, 3), in a line, and of what the tokenizer makes of each below it."""
    import numpy as np
    from PIL import Image

    from harness.data.tensors import to_tensor, to_uint8

    made = to_uint8(tokenizer.reconstruct(to_tensor(images))).permute(0, 2, 3, 1).numpy()
    content = io.BytesIO()
    Image.fromarray(np.vstack([np.hstack(list(images)), np.hstack(list(made))])).save(content, "png")
    return content.getvalue()
