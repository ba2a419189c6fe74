"""Sets of images: what is read of folders and npz files, in how much memory, and the one line for each mistake."""

from __future__ import annotations

import io
import itertools
import os
import shutil
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness.data.image_sets import (
    CHUNK_BYTES,
    CHUNK_FILES,
    FeatureStatistics,
    ImageSet,
    open_images,
    write_reference,
    write_samples,
)
from harness.data.sets import folder
from harness.system.errors import Mistake
from tests.conftest import photograph, save_class

SIDE = 24
SAVE = {"stored": np.savez, "compressed": np.savez_compressed}


def crops(n: int, side: int = SIDE) -> np.ndarray:
    """Different crops of a photograph, (n, side, side, 3)."""
    source = np.asarray(photograph())[150:, 200:]  # below the sky
    return np.stack([source[6 * i : 6 * i + side, 5 * i : 5 * i + side] for i in range(n)])


def statistics(d: int = 6, e: int = 5) -> FeatureStatistics:
    draws = np.random.default_rng(0)
    x, y = draws.normal(size=(20, d)), draws.normal(size=(20, e))
    return FeatureStatistics(x.mean(0), np.cov(x, rowvar=False), y.mean(0), np.cov(y, rowvar=False))


def samples(path: Path, images: np.ndarray, save: Callable[..., None] = np.savez, **more: Any) -> Path:
    path.parent.mkdir(exist_ok=True)
    save(path, images, **more)
    return path


def saved(path: Path, images: np.ndarray) -> Path:
    """A folder of these images as PNG files."""
    path.mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).save(path / f"{i:02d}.png")
    return path


def pixels(path: Path, count: int = 4, **asked: Any) -> np.ndarray:
    return np.concatenate(list(open_images(path, **asked).batches(count)))


def refused(path: Path, **asked: Any) -> str:
    """The one line with which `path` is refused, at once."""
    with pytest.raises(Mistake) as error:
        open_images(path, **asked)
    assert "\n" not in str(error.value)
    return str(error.value)


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
    assert (len(cropped), cropped.size, cropped.about) == (6, (SIDE, SIDE), f"6 images of set, {SIDE} px, centre crop")
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
    assert "centre crop" in refused(tmp_path / "set")
    assert len(pixels(tmp_path / "set", side=16, crop="center")) == 5


@pytest.mark.parametrize("asked", [{}, {"side": SIDE}, {"side": 8, "crop": "center"}])
def test_files_that_do_not_open_are_named(asked: dict[str, Any], tmp_path: Path) -> None:
    root = saved(tmp_path / "set", crops(3))
    whole = (root / "01.png").read_bytes()
    for damaged in (b"", b"no image"):
        (root / "01.png").write_bytes(damaged)
        assert f"{root}/01.png does not open" in refused(root, **asked)
    (root / "01.png").write_bytes(whole[: len(whole) // 2])  # its header is in order
    with pytest.raises(Mistake, match=r"set/01\.png does not open"):
        pixels(root, **asked)
    (root / "01.png").unlink()
    (root / "01.png").symlink_to("nowhere")
    assert f"{root}/01.png does not open" in refused(root, **asked)


def test_numbers_without_a_white_are_no_images(tmp_path: Path) -> None:
    Image.fromarray(np.ones((8, 8), np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(Mistake, match=r"a\.tif does not open as an image of 8 or 16 bits a channel"):
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


# npz files


@pytest.mark.parametrize("save", SAVE.values(), ids=SAVE)
def test_samples_of_numpy(save: Callable[..., None], tmp_path: Path) -> None:
    images = crops(7)
    path = samples(tmp_path / "samples.npz", images, save, arr_1=np.arange(7))
    found = open_images(path, SIDE)
    assert (len(found), found.size, found.names, found.statistics) == (7, (SIDE, SIDE), None, None)
    assert found.about == f"7 images of samples.npz, {SIDE} px"
    batches = list(found.batches(3))
    assert [len(batch) for batch in batches] == [3, 3, 1]
    assert all(batch.dtype == np.uint8 and batch.flags.writeable for batch in batches)
    for _ in range(2):
        np.testing.assert_array_equal(np.concatenate(list(found.batches(2))), images)


def test_digest_of_an_npz(tmp_path: Path) -> None:
    images = crops(4)
    stored = open_images(samples(tmp_path / "a.npz", images)).digest
    packed = open_images(samples(tmp_path / "b.npz", images, np.savez_compressed, arr_1=np.arange(4))).digest
    assert stored == packed and len(stored) == 64 and int(stored, 16)
    changed = images.copy()
    changed[3, -1, -1, 2] ^= 1
    others = [changed, images[::-1], images[:3], images.reshape(2, 2 * SIDE, SIDE, 3)]
    digests = {open_images(samples(tmp_path / f"{i}.npz", other)).digest for i, other in enumerate(others)}
    write_reference(tmp_path / "c.npz", statistics(), [images], 4, (SIDE, SIDE))
    write_reference(tmp_path / "d.npz", statistics()._replace(mu=statistics().mu + 1), [images], 4, (SIDE, SIDE))
    digests |= {stored, *(open_images(tmp_path / name).digest for name in ("c.npz", "d.npz"))}
    assert len(digests) == 7


def peak(work: Callable[..., object], *arguments: Any) -> int:
    """Bytes that `work` held at most."""
    tracemalloc.start()
    try:
        work(*arguments)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def through(images: ImageSet, n: int) -> None:
    assert sum(map(len, images.batches(32))) == n


def test_memory_does_not_grow_with_an_npz(tmp_path: Path) -> None:
    """Read, digested and written in a few batches of memory; all at once it would be all of it."""
    image_bytes, most = 64 * 64 * 3, 5 * CHUNK_BYTES
    batch = crops(32, 64)

    for n in (320, 1280):
        stored, packed = tmp_path / f"{n}.npz", tmp_path / f"{n}-packed.npz"
        assert peak(write_samples, stored, itertools.repeat(batch, n // 32), n, (64, 64)) < most
        np.savez_compressed(packed, np.concatenate([batch] * (n // 32)))
        for path in (stored, packed):
            found = open_images(path)
            assert peak(through, found, n) < most
            assert peak(lambda found: found.digest, found) < most
    assert peak(lambda: np.load(stored)["arr_0"]) >= 1280 * image_bytes > 2 * most


def test_memory_does_not_grow_with_a_folder(tmp_path: Path) -> None:
    image_bytes = 32 * 32 * 3
    files = sorted(saved(tmp_path / "few", crops(4, 32)).iterdir())
    for n in (2 * CHUNK_FILES, 8 * CHUNK_FILES):
        (tmp_path / f"{n}").mkdir()
        for i in range(n):
            os.link(files[i % 4], tmp_path / f"{n}/{i:04d}.png")
        # A chunk ahead, a batch as images and as one array, and what else threads and files take.
        assert peak(through, open_images(tmp_path / f"{n}"), n) < 4 * CHUNK_FILES * image_bytes


def test_a_changed_byte_of_an_npz_is_found(tmp_path: Path) -> None:
    path = samples(tmp_path / "a.npz", crops(8))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(Mistake, match=r"arr_0 of .*a\.npz is damaged or cut off"):
        pixels(path)
    with pytest.raises(Mistake, match="damaged"):
        _ = open_images(path).digest


def test_packed_bytes_that_are_damaged_are_found(tmp_path: Path) -> None:
    path = samples(tmp_path / "a.npz", crops(8), np.savez_compressed)
    whole = path.read_bytes()
    start = 30 + int.from_bytes(whole[26:28], "little") + int.from_bytes(whole[28:30], "little")
    for place, value in ((len(whole) // 2, whole[len(whole) // 2] ^ 1), (start, 0xFF)):  # pixels; no kind of block
        content = bytearray(whole)
        content[place] = value
        path.write_bytes(content)
        with pytest.raises(Mistake, match=r"arr_0 of .*a\.npz is damaged or cut off"):
            pixels(path)


def test_statistics_that_go_with_images(tmp_path: Path) -> None:
    given = statistics()
    given.sigma[0, 1] += 1e-6  # so that its order in memory shows
    single = {name: np.asfortranarray(array, np.float32) for name, array in given._asdict().items()}
    found = open_images(samples(tmp_path / "a.npz", crops(3), np.savez_compressed, **single))
    assert found.about == f"3 images and statistics of a.npz, {SIDE} px"
    assert found.statistics is not None
    for name, array in found.statistics._asdict().items():
        assert array.dtype == np.float64
        np.testing.assert_array_equal(array, single[name])
    np.testing.assert_array_equal(np.concatenate(list(found.batches(2))), crops(3))


def test_statistics_alone(tmp_path: Path) -> None:
    given = statistics()
    np.savez(tmp_path / "a.npz", mu=given.mu, sigma=given.sigma)
    found = open_images(tmp_path / "a.npz", 256)
    assert (len(found), found.size, list(found.batches(2)), found.about) == (0, (0, 0), [], "statistics of a.npz")
    assert found.statistics is not None and found.statistics.mu_s is None and found.statistics.sigma_s is None
    np.testing.assert_array_equal(found.statistics.sigma, given.sigma)
    assert len(found.digest) == 64


# Written


def test_written_samples_are_numpys(tmp_path: Path) -> None:
    images = crops(7)
    path, again = tmp_path / "samples", tmp_path / "again.npz"
    views = np.repeat(images, 2, axis=2)[:, :, ::2]  # not in one piece
    write_samples(path, np.split(views, [3, 5]), 7, (SIDE, SIDE))
    write_samples(again, iter(images[:, None]), np.int64(7), (np.int64(SIDE), SIDE))  # type: ignore[arg-type]
    assert path.read_bytes() == again.read_bytes()
    with zipfile.ZipFile(path) as archive:
        assert [member.date_time[0] for member in archive.infolist()] == [1980]  # no day: the same bytes on any
    with np.load(path) as loaded:
        assert loaded.files == ["arr_0"]
        np.testing.assert_array_equal(loaded["arr_0"], images)
    np.testing.assert_array_equal(pixels(path), images)
    assert open_images(path).digest == open_images(samples(tmp_path / "numpys.npz", images)).digest


@pytest.mark.parametrize(
    ("batches", "count"),
    [
        ([crops(3)], 4),
        ([crops(3), crops(2)], 4),
        ([], 0),
        ([crops(4) / 255], 4),
        ([crops(4, 8)], 4),
        ([crops(4)[..., :1]], 4),
    ],
    ids=["fewer", "more", "none", "dtype", "size", "channels"],
)
def test_wrong_samples_leave_what_was_there(batches: list[np.ndarray], count: int, tmp_path: Path) -> None:
    path = samples(tmp_path / "a.npz", crops(1))
    before = path.read_bytes()
    with pytest.raises(ValueError, match="needed are"):
        write_samples(path, batches, count, (SIDE, SIDE))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_samples_may_be_larger_than_plain_zip_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 1000)  # 4 GiB
    write_samples(tmp_path / "a.npz", [crops(4)], 4, (SIDE, SIDE))
    np.testing.assert_array_equal(pixels(tmp_path / "a.npz"), crops(4))


def test_too_many_samples_are_refused_at_once(tmp_path: Path) -> None:
    batches = iter([crops(3)] * 5)
    with pytest.raises(ValueError, match="makes 6 images"):
        write_samples(tmp_path / "a.npz", batches, 4, (SIDE, SIDE))
    assert len(list(batches)) == 3


@pytest.mark.parametrize("images", [0, 3])
def test_written_reference_is_adms(images: int, tmp_path: Path) -> None:
    path = tmp_path / "reference.npz"
    given = statistics()._replace(mu=statistics().mu.astype(np.float32))
    write_reference(path, given, [crops(3)] if images else (), images, (SIDE, SIDE))
    with np.load(path) as loaded:
        assert set(loaded.files) == {*given._fields, *(["arr_0"] if images else [])}
        for name, array in given._asdict().items():
            assert loaded[name].dtype == np.float64
            np.testing.assert_array_equal(loaded[name], array)
    found = open_images(path)
    assert len(found) == images and found.statistics is not None
    for read, wanted in zip(found.statistics, given, strict=True):
        np.testing.assert_array_equal(read, wanted)
    if images:
        np.testing.assert_array_equal(pixels(path), crops(3))


def test_wrong_statistics_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(Mistake, match="sigma_s"):
        write_reference(tmp_path / "a.npz", statistics()._replace(sigma_s=None))
    with pytest.raises(Mistake, match="NaN"):
        write_reference(tmp_path / "a.npz", statistics()._replace(mu=np.full(6, np.nan)))
    assert not list(tmp_path.iterdir())


# Mistakes


def test_paths_that_are_no_sets(tmp_path: Path) -> None:
    assert refused(tmp_path / "nowhere").startswith(f"{tmp_path}/nowhere is not there: a folder of image files or an")
    (tmp_path / "empty/.hidden").mkdir(parents=True)
    (tmp_path / "empty/readme.txt").write_text("no images")
    assert refused(tmp_path / "empty").startswith(f"no images in {tmp_path}/empty; needed are files that end in .jpg")
    assert "needs a side in pixels" in refused(tmp_path / "empty", crop="center")
    path = samples(tmp_path / "a.npz", crops(1))
    assert "only folders of image files are cropped" in refused(path, side=8, crop="center")
    assert f"(1, {SIDE}, {SIDE}, 3), but 8 px are needed" in refused(path, side=8)


def test_files_that_are_no_npz(tmp_path: Path) -> None:
    whole = samples(tmp_path / "a.npz", crops(4)).read_bytes()
    for content in (b"", b"no zip file", whole[: len(whole) // 2], whole[:-30]):
        (tmp_path / "a.npz").write_bytes(content)
        assert refused(tmp_path / "a.npz").startswith(f"{tmp_path}/a.npz is cut off or not an npz file: an npz file or")
    np.save(tmp_path / "a.npy", crops(1))
    assert "not an npz file" in refused(tmp_path / "a.npy")


def test_arrays_that_are_cut_off(tmp_path: Path) -> None:
    array = io.BytesIO()
    np.save(array, crops(4))
    for content in (b"", array.getvalue()[:8], array.getvalue()[:-1], array.getvalue() + b"\0", b"no array" * 20):
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
            archive.writestr("arr_0.npy", content)
        assert refused(tmp_path / "a.npz").startswith(f"arr_0 of {tmp_path}/a.npz is damaged or cut off")


def test_an_npz_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, images=crops(1), labels=np.arange(1))
    assert refused(path).startswith(f"{path} has images, labels: arr_0, uint8 (N, H, W, 3), or mu (D,) and sigma")
    np.savez(path, **{f"x{i}": np.zeros(1) for i in range(9)})  # type: ignore[arg-type]  # mypy would fill allow_pickle
    assert "x0, x1, x2, x3, x4, ...: arr_0" in refused(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("arr_0", b"an array without the suffix is none")
    assert "has no array: arr_0" in refused(path)


IMAGES = crops(2)


@pytest.mark.parametrize(
    ("images", "told"),
    [
        (IMAGES.astype(np.float32), f"is float32 (2, {SIDE}, {SIDE}, 3): uint8 (N, H, W, 3) is needed"),
        (IMAGES[0], f"is uint8 ({SIDE}, {SIDE}, 3): uint8 (N, H, W, 3) is needed"),
        (IMAGES[..., :1], f"is uint8 (2, {SIDE}, {SIDE}, 1): uint8 (N, H, W, 3) is needed"),
        (IMAGES.transpose(0, 3, 1, 2).copy(), f"(2, 3, {SIDE}, {SIDE}): uint8 (N, H, W, 3) is needed"),
        (IMAGES[:0], f"(0, {SIDE}, {SIDE}, 3): it has no images"),
        (IMAGES[:, :, :0], f"(2, {SIDE}, 0, 3): it has no images"),
        (np.asfortranarray(IMAGES), "np.ascontiguousarray"),
        (np.array([IMAGES[0], None], dtype=object), "holds Python objects"),
    ],
    ids=["dtype", "dimensions", "channels", "channels first", "no image", "no pixel", "order", "objects"],
)
def test_images_that_are_none(images: np.ndarray, told: str, tmp_path: Path) -> None:
    line = refused(samples(tmp_path / "a.npz", images))
    assert line.startswith(f"arr_0 of {tmp_path}/a.npz") and told in line


def with_value(array: np.ndarray, value: float) -> np.ndarray:
    array = array.copy()
    array.flat[1] = value
    return array


STATISTICS = statistics()
SIGMA, SIGMA_S = STATISTICS.sigma, np.cov(np.random.default_rng(1).normal(size=(9, 5)), rowvar=False)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"mu": None}, "has sigma, mu_s, sigma_s but not mu"),
        ({"sigma": None}, "has mu, mu_s, sigma_s but not sigma"),
        ({"mu": None, "sigma": None}, "has mu_s, sigma_s but not mu"),
        ({"sigma_s": None}, "has mu, sigma, mu_s but not sigma_s"),
        ({"mu_s": None}, "has mu, sigma, sigma_s but not mu_s"),
        ({"mu": with_value(STATISTICS.mu, np.nan)}, "mu of {path} has values that are NaN or infinite"),
        ({"sigma": with_value(SIGMA, np.inf)}, "sigma of {path} has values that are NaN or infinite"),
        ({"sigma_s": with_value(SIGMA_S, -np.inf)}, "sigma_s of {path} has values that are NaN or infinite"),
        ({"mu": np.zeros((1, 6))}, "mu of {path} is (1, 6) and sigma (6, 6): (D,) and (D, D) are needed"),
        ({"mu": np.zeros(0), "sigma": np.zeros((0, 0))}, "mu of {path} is (0,)"),
        ({"sigma": SIGMA[:5]}, "sigma (5, 6): (D,) and (D, D) are needed"),
        ({"sigma": SIGMA[:5, :5]}, "sigma (5, 5): (D,) and (D, D) are needed"),
        ({"sigma_s": SIGMA_S[0]}, "mu_s of {path} is (5,) and sigma_s (5,)"),
        ({"sigma": with_value(SIGMA, 2.0)}, "sigma of {path} is not symmetric"),
        ({"sigma_s": with_value(SIGMA_S, 2.0)}, "sigma_s of {path} is not symmetric"),
        ({"mu": np.arange(6)}, "mu of {path} is int64 (6,): floating point is needed"),
        ({"mu": np.array([None] * 6)}, "mu of {path} holds Python objects"),
    ],
)
@pytest.mark.parametrize("images", [{}, {"arr_0": IMAGES}], ids=["alone", "with images"])
def test_statistics_that_are_none(
    changed: dict[str, np.ndarray | None], told: str, images: dict[str, np.ndarray], tmp_path: Path
) -> None:
    path = tmp_path / "a.npz"
    held = {**images, **STATISTICS._asdict(), **changed}
    np.savez(path, **{name: array for name, array in held.items() if array is not None})
    assert told.format(path=path) in refused(path)


def test_rounding_is_not_asymmetry(tmp_path: Path) -> None:
    rounded = with_value(SIGMA, SIGMA.flat[1] + 1e-6 * np.abs(SIGMA).max())
    write_reference(tmp_path / "a.npz", STATISTICS._replace(sigma=rounded))
    found = open_images(tmp_path / "a.npz").statistics
    assert found is not None and found.sigma[0, 1] != found.sigma[1, 0]
