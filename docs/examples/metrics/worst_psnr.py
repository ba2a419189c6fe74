"""The PSNR of the worst images: a mean hides them."""

from harness.evaluation.pixels import psnr
from harness.evaluation.reconstructed import Reconstructed
from harness.evaluation.records import Value

SHARE = 0.01

title = "worst PSNR"
about = "PSNR that all reconstructions but the worst 1 % reach"
unit = "dB"
better = "higher"
digits = 2
splits = ("val", "val_unseen")


def measure(m: Reconstructed) -> Value:
    of_images = psnr(m.errors)
    return Value(of_images.quantile(SHARE).item(), len(of_images))


def protocol(m: Reconstructed) -> str:
    # Everything that somebody needs to repeat the measurement; its hash is the id of the protocol.
    return f"8-bit RGB, per image, then the {SHARE:.0%} quantile over images; {m.decoded}"
