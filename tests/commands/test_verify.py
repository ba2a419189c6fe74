"""`python -m harness.verify`, rehearsed with random weights: what it finds, measures, keeps and refuses."""

from __future__ import annotations

import dataclasses
import itertools
import math
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
from harness.experiments.experiment import Guide
from harness.experiments.published import published
from harness.hub import drawing, released, systems
from harness.hub.conversion import tokenizer_in
from harness.hub.systems import GeneratorSystem, TokenizerSystem, Weights
from harness.latents.sampling import Noise
from harness.networks.weight_files import INCEPTION, VGG, WeightsFile
from harness.system import plugins
from harness.system.errors import Mistake
from tests.commands.evaluated import Quick, crops, tensor
from tests.hub.layouts.dit import CLASSES
from tests.hub.layouts.writer import CHANNELS, PATCH
from tests.hub.layouts.writer import SIDE as GRID
from tests.hub.released import CASES

IMAGES, SIDE = 24, GRID * PATCH  # number and side in pixels
TOKENIZERS = [name for name, system in systems.SYSTEMS.items() if isinstance(system, TokenizerSystem)]
GENERATORS = [name for name, system in systems.SYSTEMS.items() if isinstance(system, GeneratorSystem)]
SAMPLED = {"sit-xl-256": 16, "lightningdit-xl": 8}  # sides of images whose latents the small generators make
STEPS = 5
pytestmark = pytest.mark.usefixtures("rehearsal")


def small(monkeypatch: pytest.MonkeyPatch, name: str, side: int) -> None:
    monkeypatch.setitem(PROTOCOLS, name, dataclasses.replace(PROTOCOLS[name], images=IMAGES, side=side))


@pytest.fixture
def rehearsal(quick: Quick, empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few small images by names of ImageNet's, which the protocol takes, and weights of the networks that measure."""
    small(monkeypatch, TokenizerSystem.protocol, SIDE)
    for number, image in enumerate(crops(IMAGES, SIDE)):
        Path("val/deep").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(f"val/{'deep/' * (number % 2)}ILSVRC2012_val_{number:08d}.png")
    Path("weights").mkdir()
    monkeypatch.setenv("TOKENIZER_WEIGHTS", "weights")
    for file, content in ((INCEPTION, "weights.pth"), (VGG, "vgg.pth")):  # which `quick` takes for published ones
        Path("weights", file.names[-1]).write_text(content)


@pytest.fixture(params=GENERATORS)
def drawn(request: pytest.FixtureRequest, quick: Quick, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a generator that draws in few steps; `reference.npz` has statistics of images of the same size."""
    name, side = request.param, SAMPLED[request.param]
    small(monkeypatch, GeneratorSystem.protocol, side)
    whole = systems.SYSTEMS[name]
    few = dataclasses.replace(whole, sampling=dataclasses.replace(whole.sampling, steps=STEPS))
    monkeypatch.setitem(systems.SYSTEMS, name, few)
    seen = {key: value.double() for key, value in quick.see(tensor(crops(IMAGES, side))).items()}
    arrays = {f"mu{end}": seen[of].mean(0).numpy() for end, of in (("", "features"), ("_s", "spatial"))}
    arrays |= {f"sigma{end}": seen[of].mT.cov().numpy() for end, of in (("", "features"), ("_s", "spatial"))}
    np.savez("reference.npz", **arrays)
    return name


def put(weights: Weights) -> Path:
    path = Path("weights", weights.file.names[0])
    state = {key: value.contiguous() for key, value in CASES[weights.layout]().state.items()}
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    return path


def write_weights(name: str) -> Path:
    """Writes all files that a system needs; the path of its tokenizer's."""
    system = systems.SYSTEMS[name]
    if isinstance(system, GeneratorSystem):
        put(system.generator)
        for file in system.latents.files:
            write_statistics(file)
    return put(system.tokenizer)


def write_statistics(file: WeightsFile, channels: int = CHANNELS) -> None:
    ramp = torch.linspace(0.5, 1.5, channels).view(1, -1, 1, 1)
    torch.save({"mean": ramp - 1, "std": ramp}, Path("weights", file.names[0]))


def run(*words: str, reference: str = "val") -> int:
    return cli.code_of(verify.main, [*words, "--reference", reference, "--quiet"])


def says_all(name: str, said: str) -> None:
    published = systems.SYSTEMS[name].published
    for words in (f"{published.value:.2f}", published.source, f"{published.tolerance:.2f}", published.reason):
        assert words in said


@pytest.mark.parametrize("name", TOKENIZERS)
def test_every_tokenizer_is_measured_beside_its_published_number(name, capsys):
    write_weights(name)
    assert run(name) == 1  # random weights are far from every published number
    says_all(name, capsys.readouterr().out)
    assert systems.SYSTEMS[name].tokenizer.layout in plugins.names(released.__name__)


TABLE_7 = {  # rows and columns of MacTok's table that have these systems
    "maetok-b-128": ("MAETok + SiT-XL", "rfid"),
    "softvq-b-64": ("SoftVQ-VAE + SiT-XL", "rfid"),
    "va-vae": ("LightningDiT-XL + VA-VAE", "rfid"),
    "sd-vae": ("SiT-XL/2", "rfid"),
    "sit-xl-256": ("SiT-XL/2", "gfid_cfg"),
    "lightningdit-xl": ("LightningDiT-XL + VA-VAE", "gfid_cfg"),
}


@pytest.mark.parametrize("name", TABLE_7)
def test_numbers_in_two_places_agree(name):
    row, column = TABLE_7[name]
    assert float(published("7")[row][column]) == systems.SYSTEMS[name].published.value


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
    near = systems.Published(expected + systems.TOLERANCE / 2, "us")
    chosen = dataclasses.replace(systems.SYSTEMS["softvq-b-64"], published=near)
    monkeypatch.setitem(systems.SYSTEMS, "softvq-b-64", chosen)
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


def tells_missing(name: str, said: str) -> None:
    assert said.startswith(f"error: the weights of {name} are missing: no ") and said.count("\n") == 1
    for file in systems.SYSTEMS[name].files:
        assert f"the weights of {file.of} are missing: no {' or '.join(file.names)}" in said
        assert file.upstream in said
    assert not Path("reports").exists()


@pytest.mark.parametrize("name", TOKENIZERS)
def test_weights_that_are_missing_are_told_with_their_place(name, capsys):
    assert run(name) == 2
    tells_missing(name, capsys.readouterr().err)


def test_weights_of_networks_that_measure_are_needed_before_the_work(capsys):
    write_weights("va-vae")
    Path("weights", VGG.names[-1]).unlink()
    assert run("va-vae") == 2
    assert "the weights of LPIPS (the VGG-16 trunk) are missing" in capsys.readouterr().err
    assert not Path("reports").exists()


def test_an_image_that_does_not_open_is_told(capsys):
    write_weights("va-vae")
    sorted(Path("val").rglob("*.png"))[5].write_bytes(b"no image")
    assert run("va-vae") == 2
    assert re.search(r"1 image does not open: .*ILSVRC2012_val_\d+\.png \(", capsys.readouterr().err)


def test_an_unknown_name_is_told(capsys):
    assert run("softvq-l64") == 2
    assert "unknown system 'softvq-l64'. Did you mean 'softvq-l-64'?" in capsys.readouterr().err


# Generators


def test_every_generator_is_measured_beside_its_published_number(drawn, capsys):
    write_weights(drawn)
    assert run(drawn, reference="reference.npz") == 1
    said = capsys.readouterr().out
    says_all(drawn, said)
    for words in (
        f"{STEPS} steps",
        "on the first 3 channels",
        "classes drawn at random",
        "content",
        "of reference.npz",
    ):
        assert words in said
    assert len(list(Path("reports/out").rglob("*.png"))) == IMAGES
    assert run(drawn, "--fewer", reference="reference.npz") == 2  # fewer than any number is of
    assert "at least 16 are needed" in capsys.readouterr().err


def test_all_files_of_a_generator_that_are_missing_are_told(drawn, capsys):
    assert run(drawn, reference="reference.npz") == 2
    tells_missing(drawn, capsys.readouterr().err)


def test_without_a_reference_it_says_which_files_are_needed(drawn, capsys, monkeypatch):
    write_weights(drawn)
    assert cli.code_of(verify.main, [drawn]) == 2
    assert capsys.readouterr().err.startswith("error: --reference IMAGES is needed: for a tokenizer, a folder of")
    monkeypatch.setenv("TOKENIZER_WEIGHTS", "nowhere")
    assert cli.code_of(verify.main, [drawn]) == 2
    assert capsys.readouterr().err.count("are missing: no ") > 1


@pytest.mark.parametrize("name", systems.SYSTEMS)
def test_what_is_typed_is_checked_before_the_weights(name, capsys, monkeypatch):
    monkeypatch.setenv("TOKENIZER_WEIGHTS", "nowhere")
    for reference in ("missing.npz", "missing"):
        assert cli.code_of(verify.main, [name, "--reference", reference]) == 2
        assert capsys.readouterr().err.startswith(f"error: {reference} is not ")


def test_a_generator_needs_statistics_of_its_reference(drawn, capsys):
    write_weights(drawn)
    np.savez("images.npz", crops(IMAGES, SAMPLED[drawn]))
    for reference in ("val", "images.npz"):
        assert run(drawn, reference=reference) == 2
        assert f"{reference} has no statistics: give ADM's" in capsys.readouterr().err


def test_samples_are_those_of_the_released_code(drawn):
    """Its loop in its own time s = 1 - t, with the released networks; the noise alone is drawn as here."""
    write_weights(drawn)
    system, side = systems.SYSTEMS[drawn], SAMPLED[drawn]
    generator, tokenizer = CASES[system.generator.layout](), CASES[system.tokenizer.layout]()
    shape = generator.state["pos_embed"].shape[1] * (4 if drawn == "sit-xl-256" else 1), CHANNELS
    picked = [0, 3, 5]
    noise = Noise(drawing.SEED, picked, shape)
    y = drawing.sampling.labels(system.sampling, drawing.SEED, picked, CLASSES)

    def u(x: torch.Tensor, s: float) -> torch.Tensor:
        t = torch.full((len(x),), 1 - s)
        conditional = -generator.velocity(x, t, y)
        if drawn == "lightningdit-xl" and s < 0.125:
            return conditional
        none = -generator.velocity(x, t, torch.full_like(y, CLASSES))
        v = none + system.guide.scale * (conditional - none)
        return torch.cat([v[..., :3], conditional[..., 3:]], -1)

    x = noise()
    if drawn == "lightningdit-xl":
        times = [0.3 * s / (1 - 0.7 * s) for s in np.linspace(0, 1, STEPS + 1)]
        for s, after in itertools.pairwise(times):
            x = x + (after - s) * u(x, s)
        stored = torch.load(Path("weights", system.latents.file.names[0]))
        z = x * stored["std"].flatten() + stored["mean"].flatten()
    else:
        times = np.linspace(0, 0.96, STEPS)
        for s in times:
            w, v = 2 * (1 - s), u(x, s)  # of the released code, whose noise is sqrt(w)
            score = (s * v - x) / (1 - s)
            drift, h = v + w / 2 * score, times[1]
            x = x + 0.04 * drift if s == times[-1] else x + h * drift + math.sqrt(w * h) * noise()
        z = x / 0.18215
    expected = (tokenizer.decode(z).clamp(-1, 1) * 127.5 + 127.5).round()
    at = verify.found(system.files)
    make, _ = verify.drawing(system, at, PROTOCOLS[system.protocol])
    images = torch.from_numpy(np.stack(list(make(picked)))).permute(0, 3, 1, 2)
    assert images.shape == (len(picked), 3, side, side)
    assert expected.std() > 5
    assert (images - expected).abs().max() <= 1


def test_a_generator_and_a_tokenizer_of_other_latents_are_told(drawn, capsys, monkeypatch):
    write_weights(drawn)
    small(monkeypatch, GeneratorSystem.protocol, 2 * SAMPLED[drawn])
    assert run(drawn, reference="reference.npz") == 2
    assert "and the tokenizer has" in capsys.readouterr().err


def test_statistics_of_other_latents_are_told(capsys, monkeypatch):
    system = systems.SYSTEMS["lightningdit-xl"]
    write_weights("lightningdit-xl")
    write_statistics(system.latents.file, CHANNELS + 1)
    with pytest.raises(Mistake, match=f"it has to hold mean and std of {CHANNELS} channels"):
        system.latents.statistics(verify.found(system.files), CHANNELS)


def test_the_settings_are_those_that_were_published():
    sit, lightningdit = (systems.SYSTEMS[name] for name in GENERATORS)
    assert (sit.guide, sit.sampling.steps) == (Guide(1.5), 250)
    assert (lightningdit.guide, lightningdit.sampling.steps) == (Guide(6.7, high=0.875), 249)
    assert {system.sampling.images for system in (sit, lightningdit)} == {50_000}
