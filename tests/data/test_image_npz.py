"""Sets of images in npz files: what is read and written, and in how much memory."""

from __future__ import annotations

import itertools
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harness.data.adm_files import write_reference, write_samples
from harness.data.image_sets import CHUNK_BYTES, open_images
from harness.system.errors import Mistake
from tests.data.sets_on_disk import SIDE, crops, peak, pixels, samples, statistics, through

SAVE = {"stored": np.savez, "compressed": np.savez_compressed}

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
