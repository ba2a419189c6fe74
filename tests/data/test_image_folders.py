"""Sets of images in folders: what is read of them, and in how much memory."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness.data.image_sets import CHUNK_FILES, open_images
from harness.data.sets import folder
from harness.system.errors import Mistake
from tests.conftest import photograph, save_class
from tests.data.sets_on_disk import SIDE, crops, peak, pixels, refused, saved, through


def test_importing_does_not_wait_for_torch() -> None:
    code = "import sys, harness.data.image_sets; sys.exit(bool({'torch', 'numpy', 'PIL', 'scipy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False).returncode == 0


# Folders


def test_a_folder_in_the_order_of_its_paths(tmp_path: Path) -> None:
    root = tmp_path / "pets"
    save_class(root / "dogs/outdoors", 3, (".bmp", ".PNG"))
    save_class(root / "cats", 4, (".png", ".ppm", ".tif"))
    save_class(root / ".hidden", 2)
    save_class(root / "cats/.hidden", 2)
    (root / "cats/._00.png").write_text("hidden")
    (root / "readme.txt").write_text("pets")
    found = open_images(root)
    names = ("cats/00", "cats/01", "cats/02", "cats/03", "dogs/outdoors/00", "dogs/outdoors/01", "dogs/outdoors/02")
    assert found.names == names
    assert (len(found), found.size, found.statistics) == (7, (30, 40), None)
    assert found.about == "7 images of pets, 40 x 30 px"
    batches = list(found.batches(3))
    assert [batch.shape for batch in batches] == [(3, 30, 40, 3), (3, 30, 40, 3), (1, 30, 40, 3)]
    assert all(batch.dtype == np.uint8 for batch in batches)
    source, images = np.asarray(photograph()), np.concatenate(batches)
    assert len(np.unique(images, axis=0)) == 4  # three of the dogs are of the same places as cats
    for name, image in zip(names, images, strict=True):
        i = int(name[-2:])
        np.testing.assert_array_equal(image, source[4 * i : 4 * i + 30, 8 * i : 8 * i + 40])


def test_copies_in_another_format_pair_with_the_originals(tmp_path: Path) -> None:
    """Sorted with their suffixes, `a.jpg` would come after `a.b.jpg`, and `a.JPG` before it."""
    for place, suffix in (("originals", ".JPG"), ("copies", ".png")):
        for name in ("a", "a.b", "a-b", "c/a"):
            (tmp_path / place / "c").mkdir(parents=True, exist_ok=True)
            photograph().crop((0, 0, 8, 8)).save(tmp_path / place / f"{name}{suffix}")
    originals, copies = (open_images(tmp_path / place) for place in ("originals", "copies"))
    assert originals.names == copies.names == ("a", "a-b", "a.b", "c/a")


def test_centre_crops_are_those_of_the_data_sets(tmp_path: Path) -> None:
    save_class(tmp_path / "set", 5)
    photograph().save(tmp_path / "set/whole.png")  # of another size
    files = [f"0{i}{suffix}" for i, suffix in enumerate((".jpg", ".PNG", ".bmp", ".jpg", ".PNG"))] + ["whole.png"]
    cropped = open_images(tmp_path / "set", SIDE, "center")
    assert (len(cropped), cropped.size, cropped.about) == (
        6,
        (SIDE, SIDE),
        f"6 BMP JPEG PNG images of set, {SIDE} px, centre crop",
    )
    expected = [folder.read(tmp_path / "set" / name, SIDE) for name in files]
    found = np.concatenate(list(cropped.batches(4)))
    np.testing.assert_array_equal(found, np.stack([image for image in expected if image is not None]))
    assert len(np.unique(found, axis=0)) == 6


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "1", "I;16"])
def test_all_modes_become_rgb_as_the_data_sets_have_them(mode: str, tmp_path: Path) -> None:
    image = photograph().crop((200, 200, 200 + SIDE, 200 + SIDE))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    elif mode == "RGBA":
        image.putalpha(image.convert("L"))
    else:
        image = image.convert(mode)
    image.save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as written:
        assert written.mode == mode
    (found,) = pixels(tmp_path)
    np.testing.assert_array_equal(found, folder.read(tmp_path / "a.png", SIDE))
    assert found.std() > 10


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_whole_images_are_upright(suffix: str, tmp_path: Path) -> None:
    """One lies on its side, and its header alone tells its size."""
    image = photograph().crop((200, 200, 240, 230))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / f"a{suffix}", exif=exif)
    image.save(tmp_path / f"b{suffix}")
    assert open_images(tmp_path).size == (30, 40)
    turned, straight = pixels(tmp_path).astype(float)
    assert np.abs(turned - straight).mean() < 12 < np.abs(turned - straight[::-1]).mean()


def test_a_png_that_is_turned_by_its_last_word_is_named(tmp_path: Path) -> None:
    """No header tells its size."""
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "a.png"
    photograph().crop((0, 0, 40, 30)).save(path, exif=exif)
    content = path.read_bytes()
    start = content.index(b"eXIf") - 4
    stop = start + 12 + int.from_bytes(content[start : start + 4])
    end = content.index(b"IEND") - 4
    path.write_bytes(content[:start] + content[stop:end] + content[start:stop] + content[end:])
    with pytest.raises(Mistake, match=r"a\.png is 30 x 40 px, not 40 x 30 px"):
        pixels(tmp_path)
    assert pixels(tmp_path, side=8, crop="center").shape == (1, 8, 8, 3)


def test_an_image_of_another_size_is_named(tmp_path: Path) -> None:
    save_class(tmp_path / "set", 3)
    photograph().crop((0, 0, 30, 40)).save(tmp_path / "set/01a.png")  # the same numbers, the other way round
    photograph().crop((0, 0, 8, 8)).save(tmp_path / "set/02a.png")
    assert f"{tmp_path}/set/01a.png is 30 x 40 px, not 40 x 30 px" in refused(tmp_path / "set")
    assert f"{tmp_path}/set/00.jpg is 40 x 30 px, not 16 px" in refused(tmp_path / "set", side=16)
    assert "bring all images to that size" in refused(tmp_path / "set")
    assert len(pixels(tmp_path / "set", side=16, crop="center")) == 5


@pytest.mark.parametrize("asked", [{}, {"side": SIDE}, {"side": 8, "crop": "center"}])
def test_files_that_do_not_open_are_named(asked: dict[str, Any], tmp_path: Path) -> None:
    root = saved(tmp_path / "set", crops(3))
    whole = (root / "01.png").read_bytes()
    for damaged in (b"", b"no image"):
        (root / "01.png").write_bytes(damaged)
        assert f"1 of 3 images in {root} does not open: 01.png (" in refused(root, **asked)
    (root / "01.png").write_bytes(whole[: len(whole) // 2])  # its header is in order
    with pytest.raises(Mistake, match=r"does not open: .*set/01\.png \("):
        pixels(root, **asked)
    (root / "01.png").unlink()
    (root / "01.png").symlink_to("nowhere")
    assert f"1 of 3 images in {root} does not open: 01.png (" in refused(root, **asked)


def test_all_files_that_do_not_open_are_counted(tmp_path: Path) -> None:
    root = saved(tmp_path / "set", crops(9))
    for name in sorted(root.iterdir())[1:8]:
        name.write_bytes(b"no image")
    assert f"7 of 9 images in {root} do not open: 01.png (" in refused(root)
    assert refused(root).endswith(" and 2 more. Replace or remove them")


def test_numbers_without_a_white_are_no_images(tmp_path: Path) -> None:
    Image.fromarray(np.ones((8, 8), np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(Mistake, match=r"1 image does not open: .*a\.tif \("):
        pixels(tmp_path)


def test_digest_of_a_folder(tmp_path: Path) -> None:
    root = saved(tmp_path / "set", crops(3))
    first = open_images(root).digest
    assert len(first) == 64 and int(first, 16)
    assert open_images(shutil.copytree(root, tmp_path / "copy")).digest == first
    assert open_images(root, SIDE).digest == first
    digests = {first, open_images(root, SIDE, "center").digest, open_images(root, 8, "center").digest}
    assert len(digests) == 3

    (tmp_path / "copy/00.png").rename(tmp_path / "copy/03.png")  # another order
    digests.add(open_images(tmp_path / "copy").digest)
    changed = crops(3)
    changed[1, 2, 3, 0] ^= 1
    digests.add(open_images(saved(tmp_path / "pixel", changed)).digest)
    with (root / "02.png").open("ab") as file:
        file.write(b"\0")
    digests.add(open_images(root).digest)
    digests.add(open_images(saved(tmp_path / "fewer", crops(2))).digest)
    assert len(digests) == 7


def test_memory_does_not_grow_with_a_folder(tmp_path: Path) -> None:
    image_bytes = 32 * 32 * 3
    files = sorted(saved(tmp_path / "few", crops(4, 32)).iterdir())
    for n in (2 * CHUNK_FILES, 8 * CHUNK_FILES):
        (tmp_path / f"{n}").mkdir()
        for i in range(n):
            os.link(files[i % 4], tmp_path / f"{n}/{i:04d}.png")
        # A chunk ahead, a batch as images and as one array, and what else threads and files take.
        assert peak(through, open_images(tmp_path / f"{n}"), n) < 4 * CHUNK_FILES * image_bytes
