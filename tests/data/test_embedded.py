"""The embedded images: what is drawn, where, and from what."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.data import splits
from harness.data.sets import embedded
from harness.data.splits import open_split
from harness.experiments.experiment import Data
from harness.experiments.keys import key_of
from harness.system.errors import Mistake, Trouble
from tests.conftest import contents

SMALL = Data("embedded", image_size=16, train_images=40, val_images=20)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded data set, `SMALL`."""
    place = tmp_path_factory.mktemp("embedded")
    embedded.build(SMALL, place)
    return place


def test_embedded_is_the_same_twice(drawn: Path, tmp_path: Path) -> None:
    embedded.build(SMALL, tmp_path)
    again = contents(tmp_path)
    assert len(again) == 9
    for name, array in contents(drawn).items():
        np.testing.assert_array_equal(array, again[name])


def test_embedded_image_does_not_depend_on_the_count(drawn: Path, tmp_path: Path) -> None:
    embedded.build(replace(SMALL, train_images=7, val_images=3), tmp_path)
    full = contents(drawn)
    for name, array in contents(tmp_path).items():
        np.testing.assert_array_equal(array, full[name][: len(array)])


def test_embedded_fresh_images_are_the_next_of_train(drawn: Path, tmp_path: Path) -> None:
    fresh = embedded.fresh(SMALL, 15)
    embedded.build(replace(SMALL, train_images=55, val_images=1), tmp_path)
    np.testing.assert_array_equal(fresh, open_split(tmp_path, "train").images[40:])
    seen = {image.tobytes() for image in open_split(drawn, "train").images}
    assert not seen & {image.tobytes() for image in fresh}
    assert fresh.dtype == np.uint8


@pytest.mark.parametrize("split", splits.SPLITS)
def test_embedded_foreground_and_balance(split: str, drawn: Path) -> None:
    arrays = open_split(drawn, split)
    assert arrays.masks is not None
    assert 0.12 < arrays.masks.mean() < 0.26
    assert arrays.masks.any(axis=(1, 2)).all()
    assert set(np.bincount(arrays.labels)) == {len(arrays) // 10}
    assert list(arrays.labels[:10]) != list(arrays.labels[10:20])


def test_embedded_mask_is_where_the_object_is() -> None:
    """On another background, exactly the pixels that the object leaves free change."""
    painter = embedded.Painter(32)
    scene = embedded.scene("train", 3)
    image, mask = painter.paint("train", scene)
    others = [painter.paint("train", replace(scene, photograph=i)) for i in range(len(embedded.PHOTOGRAPHS))]
    assert all((other_mask == mask).all() for _, other_mask in others)
    change = np.stack([abs(other.astype(int) - image).max(axis=-1) for other, _ in others]).max(axis=0)
    assert (change[~mask] > 0).all()
    assert np.median(change[mask]) == 0


def test_embedded_object_lies_in_the_middle_of_its_cell() -> None:
    painter, places = embedded.Painter(64), set()
    for index in range(60):
        scene = embedded.scene("train", index)
        alpha = np.asarray(painter.object_layer(scene))[..., 3] > 127
        rows, columns = (np.flatnonzero(alpha.any(axis)) for axis in (1, 0))
        side, (left, top) = 16 * scene.cell, (16 * at for at in scene.place)
        for first, seen in ((top, rows), (left, columns)):
            assert first - 1 <= seen[0] and seen[-1] <= first + side
            assert (seen[0] + seen[-1] + 1) / 2 == pytest.approx(first + side / 2, abs=2.5)
        assert max(len(rows), len(columns)) / side == pytest.approx(scene.filled, abs=0.08)
        places.add((scene.cell, *scene.place))
    assert len(places) == 9 + 4  # of 2 x 2 squares, and of 3 x 3


def test_embedded_shades_round_as_single_operations_do() -> None:
    """So every processor draws the same images. A matrix product rounds as its library likes."""
    one, colours = np.float32, np.random.default_rng(0).uniform(0, 255, (3, 200, 3)).astype(np.float32)
    r, g, b = (one(share) for share in embedded.LUMINANCE)
    shaded = embedded.shades(colours, (0.2, 0.9, 0.6))
    for colour, found in zip(colours.reshape(-1, 3), shaded.reshape(-1, 3), strict=True):
        light = (colour[0] * r + colour[1] * g + colour[2] * b) / one(255)
        for of, value in zip((one(0.2), one(0.9), one(0.6)), found, strict=True):
            dark, bright = one(2) * light * of, of + (one(2) * light - one(1)) * (one(1) - of)
            assert value == one(255) * (dark if light < one(0.5) else bright)


def test_embedded_shades_keep_the_luminance_order() -> None:
    """Black stays black, white stays white, and a lighter colour stays lighter in every channel."""
    ramp = np.linspace(0, 255, 9, dtype=np.float32)[None, :, None].repeat(3, 2)
    shaded = embedded.shades(ramp, (0.2, 0.9, 0.6))[0]
    np.testing.assert_allclose(shaded[[0, 4, 8]], 255 * np.array([[0, 0, 0], [0.2, 0.9, 0.6], [1, 1, 1]]), atol=0.1)
    assert (np.diff(shaded, axis=0) > 0).all()


def test_embedded_photographs_are_out_of_focus() -> None:
    """Without its object an image hardly differs from one that is read at an eighth of its size."""
    painter = embedded.Painter(64)
    for index in range(9):
        background = painter.background("train", replace(embedded.scene("train", 0), photograph=index))
        coarse = background.resize((8, 8), Image.Resampling.BOX).resize((64, 64), Image.Resampling.BICUBIC)
        assert abs(np.asarray(background, dtype=float) - np.asarray(coarse)).mean() < 4


def test_embedded_objects_of_the_splits() -> None:
    train, val, unseen = map(embedded.objects, splits.SPLITS)
    assert train == val
    assert sum(map(len, train)) + sum(map(len, unseen)) == 348
    for seen_of_class, unseen_of_class in zip(train, unseen, strict=True):
        assert not set(seen_of_class) & set(unseen_of_class)
        assert len(unseen_of_class) == pytest.approx(len(seen_of_class) / 5, abs=1)
    for split in splits.SPLITS:
        for index in range(200):
            scene = embedded.scene(split, index)
            assert scene.codepoint in embedded.objects(split)[scene.label]


def test_embedded_backgrounds_of_train_and_val_share_no_pixel() -> None:
    """Painting one region red changes no image of the other."""
    painter, marked = embedded.Painter(8), embedded.Painter(8)
    for source in marked.regions["val"]:
        source.paste((255, 0, 0), (0, 0, *source.size))
    for split in splits.SPLITS:
        scenes = [embedded.scene(split, index) for index in range(200)]
        changed = [(painter.paint(split, s)[0] != marked.paint(split, s)[0]).any() for s in scenes]
        assert not any(changed) if split != "val" else all(changed)


@pytest.mark.parametrize("size", [(512, 512), (451, 300), (1000, 872)])
def test_embedded_regions_and_crops(size: tuple[int, int]) -> None:
    regions = {split: embedded.region(split, *size) for split in splits.SPLITS}
    assert regions["train"][2] == regions["val"][0] and regions["val"] == regions["val_unseen"]
    sizes = {split: (right - left, bottom - top) for split, (left, top, right, bottom) in regions.items()}
    for split in splits.SPLITS:
        scenes = [embedded.scene(split, index) for index in range(300)]
        boxes = np.array([embedded.crop_box(scene, sizes[split], sizes["val"]) for scene in scenes])
        assert boxes.min() >= 0
        assert (boxes[:, 2:].max(axis=0) <= sizes[split]).all()
        sides = (boxes[:, 2] - boxes[:, 0]) / min(sizes["val"])
        assert sides.min() >= 0.5 and sides.max() <= 1 and sides.mean() == pytest.approx(0.75, abs=0.05)


def test_embedded_object_keeps_its_place_at_any_size() -> None:
    """The same scene at 16 and at 64 pixels: the larger image, averaged, is about the smaller one."""
    scene = embedded.scene("val", 5)
    small, mask = embedded.Painter(16).paint("val", scene)
    large, large_mask = embedded.Painter(64).paint("val", scene)
    averaged = large.reshape(16, 4, 16, 4, 3).mean(axis=(1, 3))
    assert abs(averaged - small).mean() < 6
    assert large_mask.mean() == pytest.approx(mask.mean(), abs=0.02)


def test_embedded_edges_have_the_colour_of_the_object() -> None:
    """Where fog, which has no outline, is half transparent, it is not darker than elsewhere."""
    fog = np.asarray(embedded.Painter(64).glyph("1F32B"))
    soft = fog[(fog[..., 3] > 60) & (fog[..., 3] < 100)]
    assert len(soft) and np.median(soft[:, :3]) > 190


def test_embedded_every_object_is_drawn_once() -> None:
    painter = embedded.Painter(16)
    codepoints = [code for split in ("val", "val_unseen") for of_class in embedded.objects(split) for code in of_class]
    pictures = {painter.glyph(code).tobytes() for code in codepoints}
    assert len(pictures) == len(codepoints)


def test_embedded_recipe() -> None:
    assert embedded.recipe(SMALL) == embedded.recipe(SMALL)
    assert set(embedded.recipe(SMALL)["packages"]) == set(embedded.PACKAGES)
    changed = [replace(SMALL, image_size=48), replace(SMALL, train_images=48), replace(SMALL, val_images=48)]
    assert len({key_of(embedded.recipe(data)) for data in [SMALL, *changed]}) == 4
    with pytest.raises(Mistake, match="is not one of objects=2"):
        embedded.recipe(replace(SMALL, argument="somewhere"))


def test_embedded_without_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "PACKAGES", ("no-such-package",))
    with pytest.raises(Mistake, match="pip install no-such-package"):
        embedded.recipe(SMALL)
    monkeypatch.setattr(embedded, "FONT", ("sklearn", "no/such/font.ttf"))
    with pytest.raises(Trouble, match=r"lacks no/such/font\.ttf"):
        embedded.Painter(16)


@pytest.mark.parametrize("several", [2, 3, 4])
def test_embedded_several_objects_share_a_class_and_no_place(several: int) -> None:
    for index in range(40):
        drawn = embedded.scenes("train", index, several)
        assert len({scene.place for scene in drawn}) == len(drawn) == several
        assert {scene.cell for scene in drawn} == {2}
        assert {scene.label for scene in drawn} == {embedded.scene("train", index).label}
        assert all(scene.codepoint in embedded.objects("train")[scene.label] for scene in drawn)
    assert embedded.scenes("train", 3, 1) == [embedded.scene("train", 3)]


def test_embedded_several_objects_are_painted_each_in_its_quarter() -> None:
    painter = embedded.Painter(32)
    first, *others = embedded.scenes("val", 7, 4)
    _, mask = painter.paint("val", first, others)
    assert all(
        mask[16 * row : 16 * row + 16, 16 * column : 16 * column + 16].any() for row in (0, 1) for column in (0, 1)
    )
    alone = np.stack([painter.paint("val", scene)[1] for scene in (first, *others)])
    assert np.array_equal(alone.any(0), mask)
    assert not (alone.sum(0) > 1).any()


def test_embedded_takes_a_number_of_objects_and_nothing_else() -> None:
    recipes = [embedded.recipe(replace(SMALL, argument=a)) for a in ("", "objects=2", "objects=3", "objects=4")]
    assert len({key_of(recipe) for recipe in recipes}) == len(recipes)
    for wrong in ("objects=1", "objects=5"):  # one object is the data set without an argument: one name for one content
        with pytest.raises(Mistake, match=f"'{wrong}' is not one of objects=2, objects=3, objects=4"):
            embedded.recipe(replace(SMALL, argument=wrong))
