"""A teacher without weights: how strong the edges of every patch are. Fields that name it: `teacher=edges`."""

from pathlib import Path

from harness.networks.teachers import Teacher

CELLS = 4  # on a side of a patch


def load(patches, machine):
    """The function from images (B, 3, H, H) in [-1, 1] to the features of a grid of `patches` x `patches` tokens."""
    from torch.nn import functional

    from models.objectives.alignment import Features

    def features(x):
        grey = functional.pad(x.float().mean(1, keepdim=True), (0, 1, 0, 1), mode="replicate")
        edges = grey.diff(dim=-1)[:, :, :-1].abs() + grey.diff(dim=-2)[..., :-1].abs()
        cells = functional.adaptive_avg_pool2d(edges, CELLS * patches)
        p = functional.unfold(cells, CELLS, stride=CELLS).mT  # (B, N, CELLS²)
        return Features(p.mean(1), p, p.mean(-1))

    return features


teachers = {
    "edges": Teacher(
        about="no network: edges of 4 x 4 cells of a patch",
        patch_width=CELLS**2,
        class_width=CELLS**2,
        cached=True,
        load=load,
        weights=lambda: Path(__file__),
    )
}
