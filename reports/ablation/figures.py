"""Figures of the page of an ablation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.evaluation import records
from reports.figures import COLOURS, DASHES, MARKERS, figure, save, strips
from reports.results import Result, protocol_of, rows_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CURVES = (
    ("val/kl", "KL (nats per image)"),
    ("mutual_information", "mutual information, lower bound (nats)"),
    ("gaussian_rate", "Gaussian rate, its upper bound (nats)"),
    ("val/active_units", "active units (%)"),
    ("effective_rank", "effective rank"),
    ("probe", "linear probe (%)"),
    ("val/shuffled_error", "shuffled-latent error"),
    ("val/error", "squared error"),
    ("rfd", ""),  # its label names the network
)

EMBEDDED_IMAGES = 512  # for t-SNE and UMAP: two seconds per row; 1,024 take t-SNE twice as long


def curves(results: Sequence[Result], path: Path) -> bool:
    """Draws diagnostics over the tokenizer's training, one line per row and seed; False if there is nothing to draw."""
    if all(result.curves.empty for result in results):
        return False
    drawing, axes = figure(11, 8.6, nrows=3, ncols=3, sharex=True)
    for axis, (metric, label) in zip(axes.flat, CURVES, strict=True):
        if metric == "mutual_information":
            _log_images(axis, results)
        for number, (name, seeds) in enumerate(rows_of(results).items()):
            for first, result in enumerate(seeds):
                _line(axis, result, metric, number, name if first == 0 else None)
        axis.set_title(label or _title(metric, results, "val", "snapshots"), fontsize=10, loc="left")
        axis.grid(alpha=0.3)
    for axis in axes[-1]:
        axis.set_xlabel("training step")
    for axis in axes[0]:
        axis.set_ylim(bottom=0)
    handles, labels = axes[1, 0].get_legend_handles_labels()
    drawing.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    save(drawing, path)
    return True


def generator_curves(results: Sequence[Result], path: Path) -> bool:
    """Draws gFD and the error of the velocity over the generator's training, one line per row and seed."""
    gfd = _title("gfd", results, "samples", "generator_snapshots")
    panels = {
        f"{gfd}, without guidance": lambda r: r.points("gfd", "generator_snapshots"),
        "squared error of the velocity on val": lambda r: r.curves_of("generator").get("val/velocity"),
    }
    drawing, axes = figure(9, 4.2, ncols=2)
    drawn: dict[str, Any] = {}
    for axis, (title, points) in zip(axes, panels.items(), strict=True):
        for number, (name, seeds) in enumerate(rows_of(results).items()):
            for curve in (points(result) for result in seeds):
                if curve is not None and not (curve := curve.dropna()).empty:
                    marker = MARKERS[number % 10] if len(curve) < 10 else ""
                    style = {"color": COLOURS[number % 8], "linestyle": DASHES[number % 8], "linewidth": 1.6}
                    (line,) = axis.plot(curve.index, curve, marker=marker, markersize=4, **style)
                    drawn.setdefault(name, line)
        axis.set_title(title, fontsize=10, loc="left")
        axis.set_xlabel("training step of the generator")
        axis.grid(alpha=0.3)
    if drawn:
        drawing.legend(drawn.values(), drawn.keys(), loc="outside lower center", ncols=4, frameon=False)
        save(drawing, path)
    return bool(drawn)


def probe_against_gfd(results: Sequence[Result], path: Path) -> bool:
    """Draws the linear probe against gFD without guidance, one point per row and seed (MacTok Fig. 6a)."""
    drawing, axis = figure(6.2, 4.4)
    drawn = False
    for number, (name, seeds) in enumerate(rows_of(results).items()):
        pairs = [(r.value("probe"), r.value("gfd", "samples", "generation")) for r in seeds]
        points = [(probe.value, gfd.value) for probe, gfd in pairs if probe is not None and gfd is not None]
        if points:
            axis.scatter(*zip(*points, strict=True), color=COLOURS[number % 8], marker=MARKERS[number % 10], label=name)
            drawn = True
    if not drawn:
        return False
    axis.set_xlabel("linear probe (%)")
    axis.set_ylabel(f"{_title('gfd', results, 'samples', 'generation')}, without guidance")
    axis.grid(alpha=0.3)
    drawing.legend(loc="outside right center", frameon=False, fontsize=9)
    save(drawing, path)
    return True


def _title(metric: str, results: Sequence[Result], split: str, stage: str) -> str:
    return records.full_title(metric, protocol_of(results, metric, split, stage))


def _line(axis: Axes, result: Result, metric: str, number: int, label: str | None) -> None:
    curve = result.curve(metric)
    if curve.empty:
        return
    scale = 100 if metric == "val/active_units" else 1
    style: dict[str, Any] = {"color": COLOURS[number % 8], "linestyle": DASHES[number % 8], "linewidth": 1.6}
    marker = "" if metric.startswith("val/") else MARKERS[number % 10]
    axis.plot(curve.index, scale * curve.to_numpy(), label=label, marker=marker, markersize=4, **style)


def _log_images(axis: Axes, results: Sequence[Result]) -> None:
    """Draws a line at log N, the maximum of the estimate of the mutual information."""
    for n in {r.n for result in results for r in result.records("snapshots") if r.metric == "mutual_information"}:
        axis.axhline(math.log(n), color="grey", linewidth=0.8)
        position = (0.01, math.log(n))
        axis.annotate("log N", position, xycoords=("axes fraction", "data"), va="top", color="grey", fontsize=9)


def with_hidden_patches(images: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Images (n, H, W, 3) with the patches in `masks` (n, N) painted grey."""
    side = round(masks.shape[1] ** 0.5)
    patch = images.shape[1] // side
    pixels = masks.reshape(-1, side, side).repeat(patch, 1).repeat(patch, 2)
    return np.where(pixels[..., None], np.uint8(128), images)


def panel_figure(count: int, width: float, height: float, below: float) -> tuple[Figure, list[Axes]]:
    """A figure with `count` panels of this size in inches, at most four in a line, and `below` inches under them."""
    columns = min(4, count)
    lines = -(-count // columns)
    drawing, axes = figure(width * columns, below + height * lines, nrows=lines, ncols=columns, squeeze=False)
    for axis in axes.flat[count:]:
        axis.axis("off")
    return drawing, list(axes.flat[:count])


def of_evaluation(results: Sequence[Result], file: str) -> dict[str, Any]:
    """The arrays in `file` of the evaluation by row, from the first seed; rows without the file are left out."""
    arrays = {name: seeds[0].arrays("evaluation", file) for name, seeds in rows_of(results).items()}
    return {name: stored for name, stored in arrays.items() if stored is not None}


def kl_maps(results: Sequence[Result], path: Path) -> bool:
    """Draws the KL divergence by token and channel, one panel per row that has it, with one colour scale."""
    maps = {name: a["kl"] for name, a in of_evaluation(results, "pictures.npz").items() if "kl" in a.files}
    if not maps:
        return False
    drawing, axes = panel_figure(len(maps), 2.7, 2.6, 0.2)
    most = max(kl.max() for kl in maps.values())
    for axis, (name, kl) in zip(axes, maps.items(), strict=True):
        image = axis.imshow(kl, vmin=0, vmax=most, cmap="cividis", aspect="auto", interpolation="nearest")
        axis.set_title(name, fontsize=9, parse_math=False)
        axis.set_xlabel("channel", fontsize=8)
        axis.set_ylabel("token", fontsize=8)
        axis.tick_params(labelsize=7)
    drawing.colorbar(image, ax=axes, label="KL (nats)", shrink=0.8)
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
        lines.setdefault("original", between.reshape(-1, *images.shape[2:]))
        lines[name] = images.reshape(-1, *images.shape[2:])
        titles = {steps * pair: f"pair {pair + 1}" for pair in range(pairs)}
    return strips(lines, path, titles)


def dropped_tokens(results: Sequence[Result], path: Path) -> bool:
    """Draws the rise of the squared error if a token is replaced by its mean, over the tokens, one line per row."""
    arrays = of_evaluation(results, "pictures.npz")
    if not arrays:
        return False
    drawing, axis = figure(9, 3.8)
    for number, name in enumerate(rows_of(results)):
        if name in arrays:
            rises = arrays[name]["dropped_errors"]
            style: dict[str, Any] = {"color": COLOURS[number % 8], "linestyle": DASHES[number % 8], "linewidth": 1.2}
            axis.plot(range(len(rises)), rises, marker=MARKERS[number % 10], markersize=4, label=name, **style)
    axis.set_xlabel("token")
    axis.set_ylabel("rise of the squared error")
    axis.grid(alpha=0.3)
    drawing.legend(loc="outside right center", frameon=False, fontsize=9)
    save(drawing, path)
    return True


def latents(
    results: Sequence[Result],
    classes: Sequence[str],
    path: Path,
    embed: Callable[[np.ndarray], tuple[np.ndarray, str]],
) -> bool:
    """Draws the latents (n, D) of `val` as `embed` maps them to (n, 2): ten classes in colours, one panel per row."""
    arrays = of_evaluation(results, "latents.npz")
    if not arrays:
        return False
    drawing, axes = panel_figure(len(arrays), 2.7, 2.7, 0.9)
    for axis, (row, stored) in zip(axes, arrays.items(), strict=True):
        embedded, note = embed(stored["means"].astype(np.float64))
        for label, name in enumerate(classes[:10]):
            x, y = embedded[stored["labels"][: len(embedded)] == label].T
            colour = COLOURS[label % 8] if label < 8 else ("#882255", "#44AA99")[label - 8]
            axis.scatter(x, y, s=7, alpha=0.75, color=colour, marker=MARKERS[label], label=name, linewidths=0)
        axis.set_title(f"{row}{note}", fontsize=9, parse_math=False)
        axis.axis("off")
    handles, names = axes[0].get_legend_handles_labels()
    drawing.legend(handles, names, loc="outside lower center", ncols=5, frameon=False, fontsize=8, markerscale=2)
    save(drawing, path)
    return True


def pca(x: np.ndarray) -> tuple[np.ndarray, str]:
    """The first two principal components (n, 2) of latents (n, D)."""
    components, share = principal(x)
    return components, f" ({share:.0%} of variance)"


def tsne(x: np.ndarray) -> tuple[np.ndarray, str]:
    """The first of latents (n, D) by t-SNE (N, 2), with a fixed seed, started from the principal components."""
    from sklearn.manifold import TSNE

    x = x[:EMBEDDED_IMAGES]
    perplexity = min(30.0, (len(x) - 1) / 3)  # 30 is the standard; few images allow less
    return _embedded(x, lambda: TSNE(init="pca", perplexity=perplexity, random_state=0).fit_transform(x))


def umap(x: np.ndarray) -> tuple[np.ndarray, str]:
    """The first of latents (n, D) by UMAP (N, 2), with a fixed seed; needs the package umap-learn."""
    import warnings

    with warnings.catch_warnings(action="ignore"):  # on a missing Tensorflow and on the cost of a fixed seed
        from umap import UMAP

        x = x[:EMBEDDED_IMAGES]
        return _embedded(x, lambda: UMAP(n_neighbors=min(15, len(x) - 1), random_state=0).fit_transform(x))


def _embedded(x: np.ndarray, embed: Callable[[], np.ndarray]) -> tuple[np.ndarray, str]:
    """The result of `embed`, and a note; zeros if the latents do not vary."""
    return (embed(), "") if np.ptp(x, axis=0).any() else (np.zeros((len(x), 2)), " (nothing varies)")


def principal(x: np.ndarray) -> tuple[np.ndarray, float]:
    """The first two principal components (n, 2) of x (n, D), and the share of the variance that they hold."""
    x = x - x.mean(0)
    values, vectors = np.linalg.eigh(x.T @ x)
    total = values.sum()
    return x @ vectors[:, :-3:-1], float(values[:-3:-1].sum() / total) if total > 0 else 0.0
