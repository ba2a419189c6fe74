"""Figures of the page of an ablation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.data.splits import SPLITS
from harness.evaluation import records
from reports.figures import WIDTH, colour_bar, figure, legend, panels, save, strips, title, whole
from reports.results import Result, data_sets, pictured, protocol_of, rows_of
from reports.styles import styles_of

SHOWN = 5  # reconstructions of each validation split


def probe_against_gfd(results: Sequence[Result], path: Path) -> bool:
    """Draws the linear probe against gFD without guidance, one point per row and seed (MacTok Fig. 6a).

    Nothing where the rows have several data sets: their distances cannot stand on one axis.
    """
    if data_sets(results):
        return False
    drawing, axis = figure(5.0, 3.0)
    drawn = False
    looks = styles_of(results)
    for name, seeds in rows_of(results).items():
        pairs = [(r.value("probe"), r.value("gfd", "samples", "generation")) for r in seeds]
        points = [(probe.value, gfd.value) for probe, gfd in pairs if probe is not None and gfd is not None]
        if points:
            style = looks[name]
            axis.scatter(*zip(*points, strict=True), color=style.colour, marker=style.marker, label=name)
            drawn = True
    if not drawn:
        return False
    axis.set_xlabel("linear probe (%)")
    axis.set_ylabel(f"{_title('gfd', results, 'samples', 'generation')}, without guidance")
    axis.grid(alpha=0.3)
    legend(drawing)
    save(drawing, path)
    return True


def _title(metric: str, results: Sequence[Result], split: str, stage: str) -> str:
    return records.full_title(metric, protocol_of(results, metric, split, stage))


def with_hidden_patches(images: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Images (n, H, W, 3) with the patches in `masks` (n, N) painted grey."""
    side = round(masks.shape[1] ** 0.5)
    patch = images.shape[1] // side
    pixels = masks.reshape(-1, side, side).repeat(patch, 1).repeat(patch, 2)
    return np.where(pixels[..., None], np.uint8(128), images)


def of_data(line: str, result: Result, results: Sequence[Result]) -> str:
    """The name of a line of images, with the data set of `result` where the results have several."""
    names = data_sets(results)
    return (
        f"{line}, {names[result.data].removeprefix(f'{result.data.name}:')}" if names else line
    )  # there is little room


def of_evaluation(results: Sequence[Result], file: str) -> dict[str, Any]:
    """The arrays in `file` of the evaluation by row, of one seed; rows without the file are left out."""
    arrays = {r.row.name: r.arrays("evaluation", file) for r in pictured(results)}
    return {name: stored for name, stored in arrays.items() if stored is not None}


def kl_maps(results: Sequence[Result], path: Path) -> bool:
    """Draws the KL divergence by token and channel, one panel per row that has it, with one scale of colours."""
    from matplotlib.colors import PowerNorm

    maps = {name: a["kl"] for name, a in of_evaluation(results, "pictures.npz").items() if "kl" in a}
    if not maps:
        return False
    drawing, axes = panels(len(maps), 1.9, most=4)
    norm = PowerNorm(0.5, 0.0, max(kl.max() for kl in maps.values()))  # one row may have most of the KL
    for axis, (name, kl) in zip(axes, maps.items(), strict=True):
        image = axis.imshow(kl, norm=norm, cmap="cividis", aspect="auto", interpolation="nearest")
        title(axis, name)
        axis.set_xlabel("channel")
        axis.set_ylabel("token")
        whole(axis.xaxis)
        whole(axis.yaxis)
    colour_bar(image, axes, "KL (nats)")
    save(drawing, path)
    return True


def interpolations(results: Sequence[Result], path: Path) -> bool:
    """Draws decoded interpolations between posterior means of pairs of images, one line per row below the originals."""
    lines: dict[str, np.ndarray] = {}
    titles: dict[int, str] = {}
    originals = of_evaluation(results, "reconstructions.npz")
    for name, arrays in of_evaluation(results, "pictures.npz").items():
        images = arrays["interpolations"]
        pairs, steps = images.shape[:2]
        ends = originals[name]["val originals"]
        between = np.full_like(images, 255)
        for number, image in enumerate(ends[np.arange(2 * pairs) % len(ends)]):
            between[number // 2, (steps - 1) * (number % 2)] = image
        line = of_data("original", rows_of(results)[name][0], results)
        lines.setdefault(line, between.reshape(-1, *images.shape[2:]))
        lines[name] = images.reshape(-1, *images.shape[2:])
        titles = {steps * pair: f"pair {pair + 1}" for pair in range(pairs)}
    return strips(lines, path, titles)


def dropped_tokens(results: Sequence[Result], path: Path) -> bool:
    """Draws the rise of the squared error if a token is replaced by its mean, over the tokens, one line per row."""
    arrays = of_evaluation(results, "pictures.npz")
    if not arrays:
        return False
    drawing, axis = figure(WIDTH, 2.7)
    for name, style in styles_of(results).items():
        if name in arrays:
            rises = arrays[name]["dropped_errors"]
            axis.plot(range(len(rises)), rises, marker=style.marker, markersize=4, label=name, **style.line)
    axis.set_xlabel("token")
    whole(axis.xaxis)
    axis.set_ylabel("rise of the squared error,\npixels in [-1, 1]")
    axis.set_ylim(bottom=min(0.0, axis.get_ylim()[0]))
    axis.grid(alpha=0.3)
    legend(drawing)
    save(drawing, path)
    return True


def reconstructions(results: Sequence[Result], path: Path) -> bool:
    """Draws the first images of the validation splits, and below them their reconstructions, one line per row."""
    lines: dict[str, np.ndarray] = {}
    titles: dict[int, str] = {}
    for r in pictured(results):
        if (stored := r.arrays("evaluation", "reconstructions.npz")) is not None:
            splits = [split for split in SPLITS if split in stored]
            titles = {SHOWN * index: split for index, split in enumerate(splits)}
            originals = [stored[f"{split} originals"][:SHOWN] for split in splits]
            lines.setdefault(of_data("original", r, results), np.concatenate(originals))
            lines[r.row.name] = np.concatenate([stored[split][:SHOWN] for split in splits])
    return strips(lines, path, titles)


def masks(results: Sequence[Result], path: Path) -> bool:
    """Draws the first images of a training with their hidden patches, one line for every kind of mask."""
    lines: dict[str, np.ndarray] = {}
    kinds: set[str] = set()
    for r in pictured(results):
        masking = r.experiment.tokenizer.masking
        kind = {0.0: "random", 1.0: "semantic"}.get(masking.semantic_share, "random and semantic")
        stored = r.arrays("tokenizer", "masks.npz") if masking.on else None
        if stored is not None and kind not in kinds:
            kinds.add(kind)
            lines.setdefault(of_data("image", r, results), stored["images"])
            lines[f"{kind} ({r.row.name})"] = with_hidden_patches(stored["images"], stored["masks"])
    return strips(lines, path)
