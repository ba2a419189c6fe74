"""`python -m harness.verify`, rehearsed with random weights: what it finds, measures, keeps and refuses."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from harness import cli, verify
from harness.evaluation import frechet
from harness.evaluation.frechet import Gaussian
from harness.evaluation.protocols import PROTOCOLS
from harness.experiments.published import published
from harness.hub import released, systems
from harness.hub.conversion import tokenizer_in
from harness.networks.weight_files import INCEPTION, VGG
from harness.system import plugins
from tests.commands.evaluated import Quick, crops, tensor
from tests.hub.released import CASES, PATCH
from tests.hub.released import SIDE as GRID

IMAGES, SIDE = 24, GRID * PATCH  # number and side in pixels
pytestmark = pytest.mark.usefixtures("rehearsal")


@pytest.fixture
def rehearsal(quick: Quick, empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few small images by names of ImageNet's, which the protocol takes, and weights of the networks that measure."""
    protocol = dataclasses.replace(PROTOCOLS[systems.PROTOCOL], images=IMAGES, side=SIDE)
    monkeypatch.setitem(PROTOCOLS, systems.PROTOCOL, protocol)
    for number, image in enumerate(crops(IMAGES, SIDE)):
        Path("val/deep").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(f"val/{'deep/' * (number % 2)}ILSVRC2012_val_{number:08d}.png")
    Path("weights").mkdir()
    monkeypatch.setenv("TOKENIZER_WEIGHTS", "weights")
    for file, content in ((INCEPTION, "weights.pth"), (VGG, "vgg.pth")):  # which `quick` takes for published ones
        Path("weights", file.names[-1]).write_text(content)


def write_weights(name: str) -> Path:
    system = systems.SYSTEMS[name]
    path = Path("weights", system.weights.names[0])
    state = {key: value.contiguous() for key, value in CASES[system.layout]().state.items()}
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    return path


def run(*words: str) -> int:
    return cli.code_of(verify.main, [*words, "--images", "val", "--quiet"])


@pytest.mark.parametrize("name", systems.SYSTEMS)
def test_every_system_is_measured_beside_its_published_number(name, capsys):
    write_weights(name)
    assert run(name) == 1  # random weights are far from every published number
    said = capsys.readouterr().out
    assert f"{systems.SYSTEMS[name].rfid:.2f}" in said
    assert systems.SYSTEMS[name].source in said
    assert systems.REASON in said
    assert systems.SYSTEMS[name].layout in plugins.names(released.__name__)


TABLE_7 = {  # rows of MacTok's table that have these tokenizers
    "maetok-b-128": "MAETok + SiT-XL",
    "softvq-b-64": "SoftVQ-VAE + SiT-XL",
    "va-vae": "LightningDiT-XL + VA-VAE",
    "sd-vae": "SiT-XL/2",
}


@pytest.mark.parametrize("name", TABLE_7)
def test_numbers_in_two_places_agree(name):
    row = published("7")[TABLE_7[name]]
    assert float(row["rfid"]) == systems.SYSTEMS[name].rfid


def test_the_number_is_that_of_reconstructions_and_originals(quick, capsys, monkeypatch):
    path = write_weights("softvq-b-64")
    network = tokenizer_in(path, "softvq", SIDE)
    files = sorted(Path("val").rglob("*.png"))
    originals = tensor(np.stack([np.asarray(Image.open(file)) for file in files]))
    rebuilt = (network.reconstruct(originals / 127.5 - 1) * 127.5 + 127.5).round().to(torch.uint8)

    def gaussian(images: torch.Tensor) -> Gaussian:
        seen = quick.see(images)["features"].double()
        return Gaussian(seen.mean(0), seen.mT.cov())

    expected = frechet.distance(gaussian(rebuilt), gaussian(originals))
    near = dataclasses.replace(systems.SYSTEMS["softvq-b-64"], rfid=expected + systems.TOLERANCE / 2)
    monkeypatch.setitem(systems.SYSTEMS, "softvq-b-64", near)
    assert run("softvq-b-64") == 0
    row = capsys.readouterr().out.splitlines()[2].split()
    assert row[0] == "softvq-b-64"
    assert float(row[1]) == pytest.approx(expected, abs=0.02)
    assert float(row[-2]) == pytest.approx(-systems.TOLERANCE / 2, abs=0.02)
    assert float(row[-1]) == systems.TOLERANCE


def test_the_same_command_goes_on_and_keeps_what_is_there():
    write_weights("va-vae")
    run("va-vae")
    made = sorted(Path("reports/out").rglob("*.png"))
    assert len(made) == IMAGES
    before = {path: path.stat().st_mtime_ns for path in made}
    gone = np.asarray(Image.open(made[3]), np.int16)
    made[3].unlink()
    run("va-vae")
    assert {path: path.stat().st_mtime_ns for path in made if path != made[3]} == {
        path: before[path] for path in made if path != made[3]
    }
    assert np.abs(np.asarray(Image.open(made[3]), np.int16) - gone).max() <= 1  # a batch of another size


def test_other_numbers_of_images_are_not_compared(capsys):
    write_weights("va-vae")
    sorted(Path("val").rglob("*.png"))[0].unlink()
    assert run("va-vae") == 2
    assert f"takes {IMAGES} images, val holds {IMAGES - 1}; --fewer" in capsys.readouterr().err
    assert run("va-vae", "--fewer") == 0
    assert re.search(rf"rFID \(N = {IMAGES - 1}\).*not comparable", capsys.readouterr().out, re.DOTALL)


@pytest.mark.parametrize("name", systems.SYSTEMS)
def test_weights_that_are_missing_are_told_with_their_place(name, capsys):
    assert run(name) == 2
    said = capsys.readouterr().err
    weights = systems.SYSTEMS[name].weights
    assert said.startswith(f"error: the weights of {name} are missing: no {weights.names[0]}")
    assert weights.upstream in said and said.count("\n") == 1
    assert not Path("reports").exists()


def test_weights_of_networks_that_measure_are_needed_before_the_work(capsys):
    write_weights("va-vae")
    Path("weights", VGG.names[-1]).unlink()
    assert run("va-vae") == 2
    assert "the weights of LPIPS (the VGG-16 trunk) are missing" in capsys.readouterr().err
    assert not Path("reports").exists()


def test_an_image_that_does_not_open_is_told(capsys):
    write_weights("va-vae")
    sorted(Path("val").rglob("*.png"))[5].write_bytes(b"no image")
    assert run("va-vae") == 1
    assert re.search(r"ILSVRC2012_val_\d+\.png does not open as an image: ", capsys.readouterr().err)


def test_an_unknown_name_is_told(capsys):
    assert run("softvq-l64") == 2
    assert "unknown system 'softvq-l64'. Did you mean 'softvq-l-64'?" in capsys.readouterr().err
