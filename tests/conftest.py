"""What several tests share: experiments at `smoke`, a store with one finished row, images on disk and as tensors."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two processes share the tests; before anything starts threads
os.environ.pop("COLUMNS", None)  # pytest-xdist sets it, and output would be wrapped
os.unsetenv("COLUMNS")  # readline, which pytest imports, sets it where os.environ does not see it

import numpy as np
import pytest
import timm
import torch
from filelock import FileLock
from PIL import Image
from torch import Tensor, nn

from harness.experiments.experiment import Experiment
from harness.experiments.fields import with_fields
from harness.experiments.scales import scale, with_variant
from harness.planning.task import task
from harness.system import guests, plugins
from harness.system.machine import Machine
from harness.system.randomness import Draws
from models.frozen.efficientnet import EfficientNet
from tests import toy
from tests.slurm import Slurm


@pytest.fixture(autouse=True)
def no_plugins_are_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The plug-ins that a test finds are forgotten again."""
    monkeypatch.setenv(plugins.VARIABLE, "")
    path, tables = [*sys.path], [plugins._object(kind.table) for kind in plugins.KINDS if kind.table]
    before = [dict(table) for table in tables]
    yield
    if plugins.SEEN:
        for table, content in zip(tables, before, strict=True):
            table.clear()
            table.update(content)
        sys.path[:] = path
        plugins.USERS.clear()
        plugins.SEEN.clear()
        guests.FOLDERS.clear()
        plugins.names.cache_clear()
        task.cache_clear()


ROW = ["table5", "--scale", "smoke", "--rows", "mactok", "--quiet"]
# A checkpoint after every step, so that a killed training has something to go on from.
COMMAND = (
    "from harness import ablate, cli; from harness.training import checkpoints;"
    "checkpoints.CHECKPOINT_SECONDS = 0; cli.run(ablate.main)"
)
SLOW_FIXTURES = {"runs", "checkout", "slurm"}
CATS = 12
DOGS = 8
SIDE = 32  # px, of the smoke scale
TOKENS = 64  # its N
BATCH = 6
WIDTHS = (112, 1280)  # of patch tokens and class token, as EfficientNet-Lite0 has them
DRAWS = Draws(0, "tests", 0)
MACHINE = Machine("cpu", "float32", 1)


def start(runs: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *ROW, "--runs", str(runs), "--out", str(runs / "out"), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def experiment(variant: str = "mactok", **fields: object) -> Experiment:
    """A smoke experiment of a variant; fields with `__` for the dot."""
    set_fields = {path.replace("__", "."): value for path, value in fields.items()}
    return with_fields(with_variant(scale("smoke").experiment, variant), set_fields)


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the row `mactok` of table5 at `smoke`, never interrupted. Tests copy it, never change it.

    The processes that share the tests share it too: the first one makes it.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    store = shared / "runs"
    with FileLock(shared / "runs.lock"):
        if not (shared / "runs.done").exists():
            process = start(store)
            out, errors = process.communicate(timeout=200)
            assert process.returncode == 0, out + errors
            (shared / "runs.done").touch()
    return store


def photograph() -> Image.Image:
    spec = importlib.util.find_spec("sklearn")
    assert spec is not None and spec.origin is not None
    with Image.open(Path(spec.origin).parent / "datasets/images/china.jpg") as image:
        return image.convert("RGB")


def save_class(place: Path, images: int, suffixes: tuple[str, ...] = (".jpg", ".PNG", ".bmp")) -> None:
    """Crops of a photograph, 40 x 30 pixels, in several formats, all with the same time."""
    place.mkdir(parents=True)
    source = photograph()
    for i in range(images):
        path = place / f"{i:02d}{suffixes[i % len(suffixes)]}"
        source.crop((8 * i, 4 * i, 8 * i + 40, 4 * i + 30)).save(path)
        os.utime(path, (1_600_000_000, 1_600_000_000))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever rests on a trained store, on a checkout or on a Slurm is slow; files with slow tests come first."""
    for item in items:
        if SLOW_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)  # so that processes that share the tests end together


@pytest.fixture
def unsplit(tmp_path: Path) -> Path:
    """Two class folders and no splits."""
    save_class(tmp_path / "pets/cats", CATS)
    save_class(tmp_path / "pets/dogs/outdoors", DOGS)
    return tmp_path / "pets"


def contents(place: Path) -> dict[str, np.ndarray]:
    return {path.name: np.load(path) for path in sorted(place.glob("*.npy"))}


def images(batch: int = BATCH, side: int = SIDE) -> Tensor:
    return DRAWS.uniform("images", batch, 3, side, side) * 2 - 1


class Counter:
    def __init__(self, module: nn.Module):
        self.calls: list[Tensor] = []
        module.register_forward_pre_hook(lambda _, args: self.calls.append(args[0].detach()))


@pytest.fixture(scope="module")
def net() -> EfficientNet:
    """Random weights; dropout and stochastic depth that would show at once if anything switched them on."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = timm.create_model("tf_efficientnet_lite0", pretrained=False, drop_rate=0.5, drop_path_rate=0.5)
        return EfficientNet(model)


@pytest.fixture(scope="module")
def float32() -> Iterator[None]:
    """Batches of another size differ by rounding: in float32 by less than a level, in bfloat16 by more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.system.machine.this_machine", lambda: MACHINE)
        yield


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    """A Slurm of the module's own."""
    # Not pytest's folder, whose path may be too long for sockets.
    with tempfile.TemporaryDirectory(prefix="slurm-", dir="/tmp") as place, Slurm(Path(place)) as running:
        yield running


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with the toy's stages in place of the real work."""
    return toy.checkout(tmp_path_factory.mktemp("checkout"))
