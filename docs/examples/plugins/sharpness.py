"""A metric of tokenizers: how much of the gradients of images their reconstructions keep.

`tables` says in which tables of a page it stands: `reconstruction`, `information`, `latents`, or `generation`.
"""

from harness.evaluation.reconstructed import Reconstructed
from harness.evaluation.records import Value

title = "sharpness"
about = "mean gradient of the reconstructions, in % of that of the originals"
unit = "%"
better = "higher"
digits = 1
splits = ("val", "val_unseen")
tables = ("reconstruction",)


def measure(m: Reconstructed) -> Value:
    sums = [0.0, 0.0]
    for pair in m.pairs():  # chunks of originals and reconstructions, uint8 (n, 3, H, W)
        for place, images in enumerate(pair):
            x = images.float()
            sums[place] += (x.diff(dim=-1).abs().sum() + x.diff(dim=-2).abs().sum()).item()
    return Value(100 * sums[1] / sums[0], len(m))


def protocol(m: Reconstructed) -> str:
    return f"absolute differences of neighbouring pixels, 8-bit RGB, summed over images; {m.decoded}"
