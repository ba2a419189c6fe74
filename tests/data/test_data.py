"""Every data set: its interface and the arrays it promises."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.data import splits, trial
from harness.data.splits import open_split
from harness.experiments.experiment import Data
from harness.system import plugins
from tests.encoded import save_folders, save_shards


@pytest.mark.parametrize("name", plugins.names("harness.data.sets"))
def test_module_offers_the_interface(name: str) -> None:
    module = plugins.load("harness.data.sets", name, "data set")
    assert isinstance(module.revision, int) and isinstance(module.attribution, str)
    assert module.about and "\n" not in module.about
    assert callable(module.recipe) and callable(module.build)


def argument(name: str, unsplit: Path, place: Path) -> str:
    """What follows the colon, with a small data set there."""
    if name == "embedded":
        return ""
    if name == "folder":
        return str(unsplit)
    folders = save_folders(place / "imagenet")
    return str(folders if name == "imagenet" else save_shards(place / "shards", folders))


@pytest.mark.parametrize("name", plugins.names("harness.data.sets"))
def test_arrays(name: str, unsplit: Path, tmp_path: Path) -> None:
    module = plugins.load("harness.data.sets", name, "data set")
    data = Data(name, 16, train_images=12, val_images=6, argument=argument(name, unsplit, tmp_path))
    built = tmp_path / "arrays"
    built.mkdir()
    tried = trial.opened(data)
    classes = module.build(data, built)["classes"]
    if getattr(module, "fixed", False):
        assert tried is None
    else:
        counts = {split: len(open_split(built, split)) for split in splits.splits(built)}
        assert tried is not None and tried.images == counts and tried.opened == tried.total == sum(counts.values())
    assert splits.splits(built)[:2] == ["train", "val"]
    for split in splits.splits(built):
        arrays = open_split(built, split)
        assert arrays.images.dtype == np.uint8 and arrays.images.shape == (len(arrays), 16, 16, 3)
        assert arrays.labels.dtype == np.int64 and arrays.labels.shape == (len(arrays),)
        assert set(np.unique(arrays.labels)) <= set(range(len(classes)))
        assert np.array(arrays.images).std() > 20
        if arrays.masks is not None:
            assert arrays.masks.dtype == np.bool_ and arrays.masks.shape == arrays.images.shape[:3]
