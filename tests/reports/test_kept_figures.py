from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from reports import figures


@pytest.fixture
def drawing(tmp_path):
    """What draws a figure, and how often it did."""
    drawn = []

    def draw() -> dict[str, bool]:
        drawn.append(True)
        images = np.full((3, 8, 8, 3), 40 * len(drawn), np.uint8)
        return {"strip": figures.strips({"a row": images}, tmp_path / "strip.png"), "none": False}

    return draw, drawn


def test_figures_are_drawn_once_for_the_same_results(drawing, tmp_path):
    draw, drawn = drawing
    for _ in range(3):
        assert figures.kept(tmp_path, "results", draw) == {"strip": True, "none": False}
    assert len(drawn) == 1


def test_figures_are_drawn_again_if_anything_changed(drawing, tmp_path, monkeypatch):
    draw, drawn = drawing
    figures.kept(tmp_path, "results", draw)
    figures.kept(tmp_path, "other results", draw)
    assert len(drawn) == 2
    (tmp_path / "strip.png").unlink()
    figures.kept(tmp_path, "other results", draw)
    assert len(drawn) == 3
    Image.new("RGB", (5, 5)).save(tmp_path / "strip.png")
    figures.kept(tmp_path, "other results", draw)
    assert len(drawn) == 4
    (tmp_path / figures.KEPT).write_text("{}")
    figures.kept(tmp_path, "other results", draw)
    assert len(drawn) == 5
    (tmp_path / "code").mkdir()
    monkeypatch.setattr(figures, "HERE", tmp_path / "code")
    figures.kept(tmp_path, "other results", draw)
    assert len(drawn) == 6


def test_results_that_may_change_are_always_drawn(drawing, tmp_path):
    draw, drawn = drawing
    for count in (1, 2):
        figures.kept(tmp_path, None, draw)
        assert len(drawn) == count
    assert not (tmp_path / figures.KEPT).exists()
