"""What holds for every figure: no text is cut or too small, axes are named, no panel is empty, colours can be seen."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import optuna
import pytest
from matplotlib import axis as ticks
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from optuna.samplers import RandomSampler
from PIL import Image

from harness import report, runs, sweep
from harness.experiments.axis import Axis
from harness.experiments.objectives import objectives
from harness.experiments.requests import study_called
from harness.experiments.study import Ablation
from models.variants import VARIANTS
from reports import figures, styles
from reports.ablation.embeddings import CLASSES
from reports.sweep import figures as search
from tests.conftest import experiment

EXAMPLES = Path(__file__).parents[2] / "reports/examples"
PRINTED = 6.5  # inches, the width of the text of a page
STRIPS = ("reconstructions", "samples", "interpolations", "masks")


@pytest.fixture
def drawn(monkeypatch) -> dict[str, Figure]:
    """The figures that are saved, by name."""
    found: dict[str, Figure] = {}
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **_: found.update({path.stem: self}))
    return found


def test_figures_of_stored_images_and_latents(drawn, runs, tmp_path):
    words = ["--scale", "smoke", "--rows", "mactok", "--runs", str(runs), "--out", str(tmp_path)]
    assert report.main(["table5", *words]) == 0
    assert {"kl", "dropped", "latents", "tsne", *STRIPS} <= set(drawn)
    for name, drawing in drawn.items():
        check(name, drawing)


@pytest.mark.parametrize("example", sorted(path.parent.name for path in EXAMPLES.glob("*/seed-0.jsonl")))
def test_figures_of_the_examples(example, drawn, tmp_path):
    study, at = example.split("-")[:2]
    texts = [str(path) for path in sorted((EXAMPLES / example).glob("seed-*.jsonl"))[:2]]
    seeds = str(len(texts))
    words = ["--scale", at, "--seeds", seeds, "--runs", str(tmp_path / "runs"), "--out", str(tmp_path), "--quiet"]
    assert runs.main(["--runs", str(tmp_path / "runs"), "--take", *texts]) == 0
    ablation = isinstance(study_called(study), Ablation)
    assert (report.main([study, *words[:-1]]) if ablation else sweep.main([study, *words])) == 0
    assert {"curves"} <= set(drawn) if ablation else {"objective", "latents"} == set(drawn)
    for name, drawing in drawn.items():
        check(name, drawing)


def test_figures_of_a_search(drawn, tmp_path):
    wanted = objectives("rfd,kl,gfd")
    study = optuna.create_study(directions=[o.direction for o in wanted], sampler=RandomSampler(seed=0))

    def measure(trial: optuna.Trial) -> list[float]:
        names = [f"a parameter with a long name, number {k}" for k in range(4)]
        values = [trial.suggest_float(name, 1e-4, 1, log=k % 2 == 0) for k, name in enumerate(names)]
        return [1e4 * values[0] + values[1], values[2], values[3]]

    study.optimize(measure, n_trials=12)
    search.of_search(study, wanted, tmp_path)
    assert set(drawn) == {"history", "slices", "importances", "front"}
    for name, drawing in drawn.items():
        check(name, drawing)


def test_a_sweep_over_two_axes(drawn, tmp_path):
    axes = [
        Axis(f"tokenizer.{name}", name, grid=(1e-4, 1.0), low=1e-4, high=1.0, log=log)
        for name, log in (("M", False), ("w", True))
    ]
    points = [
        SimpleNamespace(location=SimpleNamespace(values=(("M", m), ("w", w))), mean=lambda _, of=(m, w): 1e3 * sum(of))
        for m, w in itertools.product((0.1, 0.5, 0.9), (1e-4, 1e-3, 1.0))
    ]
    request = SimpleNamespace(objectives=objectives("rfd,kl"))
    tried = SimpleNamespace(request=request, axes=axes, done=points, by_row={"one": points[:4], "two": points[4:]})
    tried.best = lambda o, of: min(of, key=lambda point: point.mean(o))
    search.objective(tried, SimpleNamespace(paper_curve=lambda o: {}), tmp_path / "objective.png")
    check("objective", drawn["objective"])


@pytest.mark.parametrize(
    ("metrics", "panels"),
    [({"kl": 0.0}, 1), ({"kl": 2e4, "linear_gaussian_kl": 3e4, "active_units": 50.0}, 2), ({"kl": 0.01}, 1), ({}, 0)],
)
@pytest.mark.parametrize("log", [True, False])
def test_latents_of_a_sweep_show_all_that_was_measured(metrics, panels, log, drawn, tmp_path):
    axis = Axis("tokenizer.kl", "KL weight", grid=(1e-4, 1.0), low=1e-4, high=1.0, log=log)
    measured = {name: [value, value * 1.1] for name, value in metrics.items()}
    points = [
        SimpleNamespace(coordinate=at, metric_values=lambda name: measured.get(name, []), quantities=lambda name: [])
        for at in (1e-4, 3e-4, 1e-3, 1.0)
    ]
    request = SimpleNamespace(chosen_rows=lambda: [SimpleNamespace(name=name, variant=name) for name in VARIANTS])
    tried = SimpleNamespace(request=request, axes=[axis], done=points, by_row=dict.fromkeys(VARIANTS, points))
    tried.results = [SimpleNamespace(experiment=experiment())]
    assert search.latents(tried, tmp_path / "latents.png") == bool(panels)
    assert bool(drawn) == bool(panels)
    for drawing in drawn.values():
        assert len(drawing.axes) == panels
        check("latents", drawing)
        (low, high), reference = drawing.axes[0].get_ylim(), metrics.get("linear_gaussian_kl", metrics["kl"])
        assert low == 0 and high > reference


@pytest.mark.parametrize("spoil", ["cut", "nameless", "empty", "small", "touching", "wide"])
def test_the_check_can_fail(spoil):
    drawing, axis = figures.figure(5.0, 2.0)
    axis.plot([0, 1e7], [0, 1])
    axis.set_xlabel("step")
    axis.set_ylabel("error")
    check("good", drawing)
    if spoil == "cut":
        drawing.text(0.9, 0.5, "a text that goes over the edge")
    elif spoil == "nameless":
        axis.set_ylabel("")
    elif spoil == "empty":
        drawing.add_subplot()
    elif spoil == "small":
        axis.tick_params(labelsize=6)
    elif spoil == "touching":
        axis.set_xticks([0, 1e5], ["a long label", "another one"])
    else:
        drawing.set_figwidth(9.0)
    with pytest.raises(AssertionError):
        check("bad", drawing)


def check(name: str, drawing: Figure) -> None:
    """Fails if anything is cut, nameless, empty, too small or in the way."""
    drawing.canvas.draw()
    box, page = drawing.get_tightbbox(), drawing.bbox_inches
    assert page.width <= figures.WIDTH + 1e-6, name
    assert min(box.x0, box.y0, page.x1 - box.x1, page.y1 - box.y1) > -0.01, (name, box, page)
    for text in drawing.findobj(Text):
        small = bool(text.get_text()) and text.get_fontsize() * PRINTED / figures.WIDTH < 7
        assert not small, (name, text)
    for axis in drawing.axes:
        assert len(drawing.axes) > 1 or not axis.get_title("left").endswith(", ours"), name
        assert axis.has_data() or axis.get_label() == "<colorbar>", name
        assert axis.get_label() != "<colorbar>" or axis.get_ylabel(), name
        if axis.axison and axis.get_frame_on() and axis.get_label() != "<colorbar>":
            named = axis.get_xlabel() and (axis.get_ylabel() or axis.get_title("left"))
            assert named or name == "importances", name
        for of in (axis.xaxis, axis.yaxis):
            apart = all(not one.overlaps(other) for one, other in itertools.combinations(_labels(of), 2))
            assert apart or not axis.axison, (name, [t.get_text() for t in of.get_ticklabels()])


def _labels(of: ticks.Axis) -> Iterator:
    low, high = sorted(of.get_view_interval())
    for which in (False, True):
        places = of.get_ticklocs(minor=which)
        for place, text in zip(places, of.get_ticklabels(minor=which), strict=False):
            if low <= place <= high and text.get_text() and text.get_visible():
                yield text.get_window_extent()


@pytest.mark.parametrize("side", [8, 32, 256])
@pytest.mark.parametrize("count", [1, 10, 16])
def test_a_strip_has_no_band_and_its_pixels_are_equal(side, count, tmp_path):
    red, blue = np.array([255, 0, 0], np.uint8), np.array([0, 0, 255], np.uint8)
    image = np.where((np.indices((side, side)).sum(0) % 2)[..., None], red, blue)
    long = "a name that is much longer than what has room beside an image, and then some more of it"
    lines = dict.fromkeys(("short", long, "y" * 300), np.stack([image] * count))
    figures.strips(lines, tmp_path / "a.png")
    pixels = np.asarray(Image.open(tmp_path / "a.png").convert("RGB")).astype(int)
    margin = figures.MARGIN * figures.STRIP_DPI + 1
    coloured = np.ptp(pixels, axis=2) > 64
    down, right = np.flatnonzero(coloured.any(1)), np.flatnonzero(coloured.any(0))
    assert down[0] <= margin and pixels.shape[0] - 1 - down[-1] <= margin
    assert pixels.shape[1] - 1 - right[-1] <= margin
    assert (pixels[:, 0] > 250).all()  # no letter is cut
    if side < 256:
        gap = max(1, side // 16)
        times, rest = divmod(down[-1] - down[0] + 1, 3 * (side + gap) - gap)
        assert times >= 1 and rest == 0
        one = pixels[down[0] : down[0] + side * times, right[0] : right[0] + side * times]
        assert (one == image.repeat(times, 0).repeat(times, 1)).all()


@pytest.mark.parametrize("side", [8, 32, 64, 256])
@pytest.mark.parametrize("count", [1, 16])
def test_long_names_beside_a_strip_do_not_touch(side, count, drawn, tmp_path):
    names = [f"{'abcd'[k]}omponents.py:Components=train_images.npy" for k in range(4)]
    figures.strips(dict.fromkeys(names, np.zeros((count, side, side, 3), np.uint8)), tmp_path / "a.png")
    check("a", drawn["a"])


@pytest.mark.parametrize("title", ["short", "a title above that is longer than the strip of images is wide"])
def test_names_below_a_strip_and_titles_above_are_whole(title, tmp_path):
    lines = {"row": np.zeros((3, 32, 32, 3), np.uint8)}
    figures.strips(lines, tmp_path / "a.png", {0: title}, ["one", "a class of a rather long name", "x" * 99])
    pixels = np.asarray(Image.open(tmp_path / "a.png").convert("L"))
    for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
        assert (edge > 250).all()


def contrast(colour: str) -> float:
    """The contrast of a colour to white (WCAG 2.1), from 1 to 21."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return 1.05 / (np.dot((0.2126, 0.7152, 0.0722), linear) + 0.05)


def test_every_colour_stands_out_from_white():
    rows = {name: name for name in VARIANTS} | {f"{name} again": name for name in VARIANTS} | {"mine": "of a user"}
    colours = {style.colour for style in styles.styles(rows).values()} | set(CLASSES) | set(figures.shades(12))
    assert all(re.fullmatch("#[0-9A-Fa-f]{6}", colour) for colour in colours)
    assert min(map(contrast, colours)) >= figures.CONTRAST


@pytest.mark.parametrize("count", range(1, 14))
def test_panels_fill_their_lines(count):
    drawing, axes = figures.panels(count, 1.0, most=4)
    assert len(axes) == count == len(drawing.axes)
    lines = {axis.get_subplotspec().rowspan.start for axis in axes}
    columns = axes[0].get_subplotspec().get_gridspec().ncols
    assert len(lines) == -(-count // 4) and len(lines) * columns - count < len(lines)


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ([500.0, 2500.0], "linear"),
        ([0.2, 70.0], "log"),
        ([0.0002, 1.28, 70.0], "symlog"),
        ([0.0, 70.0], "symlog"),
        ([-40.0, 70.0], "linear"),
        ([0.0, 0.0], "linear"),
        ([], "linear"),
    ],
)
def test_an_axis_has_the_scale_that_tells_its_values_apart(values, scale):
    assert figures.scale_of(values, 0.1)["value"] == scale
    if values:
        norm = figures.norm_of(values, 0.1)
        assert (norm(min(values)), norm(max(values))) == (0, 1) or min(values) == max(values)
        _, axis = figures.figure(4, 3)
        axis.plot(values)
        figures.fit(axis.yaxis, values, 0.1)
        assert axis.get_yscale() == scale
        assert scale != "symlog" or axis.get_ylim()[0] == 0


@pytest.mark.parametrize(
    ("name", "letters", "lines"),
    [
        ("components.py:Components=train_images.npy", 30, "components.py:Components=\ntrain_images.npy"),
        ("embedded:objects=4", 18, "embedded:objects=4"),
        ("https://a.b/c", 13, "https://a.b/c"),
        ("MacTok-128 + FT", 8, "MacTok-\n128 + FT"),
        ("a/b/c/d", 4, "a/b/\nc/d"),
    ],
)
def test_names_break_after_their_signs(name, letters, lines):
    assert figures.wrapped(name, letters) == lines
