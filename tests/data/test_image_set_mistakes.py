"""The one line for each mistake in a set of images."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from harness.data.adm_files import write_reference
from harness.data.image_sets import FORMS, open_images
from tests.data.sets_on_disk import SIDE, crops, refused, samples, statistics


def test_paths_that_are_no_sets(tmp_path: Path) -> None:
    assert refused(tmp_path / "nowhere").startswith(f"{tmp_path}/nowhere is not there: a folder of image files or an")
    (tmp_path / "empty/.hidden").mkdir(parents=True)
    (tmp_path / "empty/readme.txt").write_text("no images")
    assert refused(tmp_path / "empty") == (
        f"no images in {tmp_path}/empty, but 1 ending in .txt (readme.txt); needed are image files, such as .jpg .png "
        ".webp .gif .tif"
    )
    assert "needs a side in pixels" in refused(tmp_path / "empty", crop="center")
    path = samples(tmp_path / "a.npz", crops(1))
    assert "only folders of image files are cropped" in refused(path, side=8, crop="center")
    assert f"(1, {SIDE}, {SIDE}, 3), but 8 px are needed" in refused(path, side=8)


def test_files_that_are_no_npz(tmp_path: Path) -> None:
    whole = samples(tmp_path / "a.npz", crops(4)).read_bytes()
    for content in (b"", b"no zip file", whole[: len(whole) // 2], whole[:-30]):
        (tmp_path / "a.npz").write_bytes(content)
        assert refused(tmp_path / "a.npz") == f"{tmp_path}/a.npz is cut off or not an npz file: {FORMS} is needed"
    np.save(tmp_path / "a.npy", crops(1))
    assert refused(tmp_path / "a.npy") == f"{tmp_path}/a.npy is an npy file: {FORMS} is needed"
    for name, what in (("a.png", "one image file"), ("README.md", "not an npz file")):
        (tmp_path / name).touch()
        assert refused(tmp_path / name) == f"{tmp_path}/{name} is {what}: {FORMS} is needed"


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
    assert "x0, x1, x2, x3, x4 and 4 more: arr_0" in refused(path)
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
