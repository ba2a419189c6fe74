"""Two-dimensional embeddings of the latents: PCA, t-SNE and UMAP."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from reports.ablation.figures import of_evaluation
from reports.figures import COLOURS, MARKERS, label, legend, panels, save, title
from reports.results import Result

CLASSES = (*COLOURS, "#882255", "#7F7F7F")
EMBEDDED_IMAGES = 512  # for t-SNE and UMAP: two seconds per row; 1,024 take t-SNE twice as long


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
    drawing, axes = panels(len(arrays), 2.0, most=4)
    for axis, (row, stored) in zip(axes, arrays.items(), strict=True):
        embedded, note = embed(stored["means"].astype(np.float64))
        for k, name in enumerate(classes[: len(CLASSES)]):
            x, y = embedded[stored["labels"][: len(embedded)] == k].T
            axis.scatter(x, y, s=15, alpha=0.75, color=CLASSES[k], marker=MARKERS[k], label=label(name), linewidths=0)
        title(axis, f"{row}\n{note}" if note else row)
        axis.axis("off")
    legend(drawing)
    save(drawing, path)
    return True


def pca(x: np.ndarray) -> tuple[np.ndarray, str]:
    """The first two principal components (n, 2) of latents (n, D), and how much they hold and how far they reach."""
    components, share = principal(x)
    return components, f"{share:.0%} of the variance, {_reach(components)}"


def _reach(components: np.ndarray) -> str:
    """How far latents reach along their first principal component, in words."""
    return f"sd {components[:, 0].std():.2g}"


def tsne(x: np.ndarray) -> tuple[np.ndarray, str]:
    """The first of latents (n, D) by t-SNE (N, 2), with a fixed seed, started from the principal components."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    x = x[:EMBEDDED_IMAGES]
    near = perplexity(len(x))
    with threadpool_limits(1):  # its threads wait for each other: beside other work they take thirty times as long
        return _embedded(x, lambda: TSNE(init="pca", perplexity=near, random_state=0).fit_transform(x))


def perplexity(images: int) -> float:
    """The perplexity of t-SNE for this number of images: 30 is the standard, and few images allow less."""
    return min(30.0, (images - 1) / 3)


def umap(x: np.ndarray) -> tuple[np.ndarray, str]:
    """The first of latents (n, D) by UMAP (N, 2), with a fixed seed; needs the package umap-learn."""
    import warnings

    with warnings.catch_warnings(action="ignore"):  # on a missing Tensorflow and on the cost of a fixed seed
        from umap import UMAP

        x = x[:EMBEDDED_IMAGES]
        return _embedded(x, lambda: UMAP(n_neighbors=min(15, len(x) - 1), random_state=0).fit_transform(x))


def _embedded(x: np.ndarray, embed: Callable[[], np.ndarray]) -> tuple[np.ndarray, str]:
    """The result of `embed`, and how far the latents reach; zeros if they do not vary."""
    varies = np.ptp(x, axis=0).any()
    return (embed(), _reach(principal(x)[0])) if varies else (np.zeros((len(x), 2)), "nothing varies")


def principal(x: np.ndarray) -> tuple[np.ndarray, float]:
    """The first two principal components (n, 2) of x (n, D), and the share of the variance that they hold."""
    x = x - x.mean(0)
    values, vectors = np.linalg.eigh(x.T @ x)
    total = values.sum()
    return x @ vectors[:, :-3:-1], float(values[:-3:-1].sum() / total) if total > 0 else 0.0
