"""A teacher without a network: it knows where the edges of an image are."""

from pathlib import Path

from harness.networks.teachers import TEACHERS, Teacher

CELLS = 4  # on a side of a patch, and of the whole image for the class token


def load_edges(patches, machine):
    """A function from images (B, 3, H, W) in [-1, 1] to the features of `patches` x `patches` image tokens."""
    from torch.nn import functional

    from models.objectives.alignment import Features

    def features(x):
        grey = x.float().mean(1, keepdim=True)
        padded = functional.pad(grey, (0, 1, 0, 1), mode="replicate")
        across = (padded[..., :-1, 1:] - padded[..., :-1, :-1]).abs()
        down = (padded[..., 1:, :-1] - padded[..., :-1, :-1]).abs()
        cells = functional.interpolate(across + down, size=(CELLS * patches,) * 2, mode="area")
        p = functional.unfold(cells, CELLS, stride=CELLS).mT  # patch tokens (B, N, 16)
        c = functional.adaptive_avg_pool2d(cells, CELLS).flatten(1)  # class token (B, 16)
        return Features(c, p, p.mean(-1))  # the semantic score: how many edges a patch has

    return features


TEACHERS["edges"] = Teacher(
    about="no network: patch tokens the edges in 4 x 4 cells of a patch, class token those of the image, semantic "
    "score the mean over a patch",
    patch_width=CELLS**2,
    class_width=CELLS**2,
    cached=True,  # features of all training images are computed once
    load=load_edges,
    weights=lambda: Path(__file__),  # a record needs a file: it has no weights
)
