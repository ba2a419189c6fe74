"""Pretrained tokenizers: saved, loaded from a folder or the Hub, used, and refused where they are none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub.errors import RepositoryNotFoundError
from safetensors.torch import load_file, save_file

from harness.data.splits import open_split
from harness.data.tensors import to_tensor
from harness.hub.tokenizer import PretrainedTokenizer
from harness.latents import autoencode
from harness.networks import weights
from harness.system.errors import Mistake, Trouble
from models.variants import VARIANTS
from tests.conftest import DRAWS, MACHINE, SIDE, images
from tests.hub.tokenizers import EXPERIMENT, FILES, fresh, run_of

# There and back


def test_a_published_folder_is_complete_and_has_the_weights_of_the_run(store, published, pretrained):
    assert sorted(path.name for path in published.iterdir()) == FILES
    assert [path.name for path in published.parent.iterdir()] == ["mactok"]
    expected = weights.load_tokenizer(EXPERIMENT, run_of(store, "finetuning")).state_dict()
    found = pretrained.tokenizer.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert pretrained.config.tokenizer == EXPERIMENT.tokenizer
    assert pretrained.config.image_size == SIDE


def test_what_is_loaded_and_saved_again_has_the_same_bytes(published, pretrained, tmp_path):
    pretrained.save_pretrained(tmp_path / "again")
    assert {name: (tmp_path / "again" / name).read_bytes() for name in FILES} == {
        name: (published / name).read_bytes() for name in FILES
    }


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_survives_the_way_there_and_back(variant, tmp_path):
    made = fresh(variant)
    made.save_pretrained(tmp_path)
    again = PretrainedTokenizer.from_pretrained(str(tmp_path))
    assert again.config == made.config
    assert torch.equal(again.encode(images()), made.encode(images()))
    assert again.weights_sha256 == made.weights_sha256


def test_the_checksum_is_that_of_the_weights(store, pretrained):
    of_run = PretrainedTokenizer.of_run(store, run_of(store, "finetuning"))
    assert of_run.weights_sha256 == pretrained.weights_sha256
    of_run.tokenizer.to_pixels.bias[0] += 1e-3
    assert of_run.weights_sha256 != pretrained.weights_sha256


# Use


def test_latents_and_images_are_those_of_the_harness(store, pretrained):
    originals = open_split(run_of(store, "data").folder, "val").images[:5]
    tokenizer = weights.load_tokenizer(EXPERIMENT, run_of(store, "finetuning"))
    x, posterior = to_tensor(originals), autoencode.encode(tokenizer, originals, MACHINE)
    z = pretrained.encode(x)
    assert z.shape == (5, EXPERIMENT.tokenizer.tokens, EXPERIMENT.tokenizer.channels)
    assert torch.equal(z, posterior.mean)
    assert torch.equal(pretrained.posterior(x).log_variance, posterior.log_variance)
    expected = autoencode.decode(tokenizer, posterior.mean, MACHINE)
    for found in (pretrained.decode(z), pretrained.reconstruct(x)):
        assert torch.equal(((found + 1) * 127.5).round().to(torch.uint8), expected)


def test_a_sample_is_drawn_by_its_generator():
    tokenizer = fresh()
    posterior = tokenizer.posterior(images())
    first, again, other = (tokenizer.encode(images(), True, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    noise = torch.randn(posterior.mean.shape, generator=torch.Generator().manual_seed(3))
    assert torch.equal(first, posterior.sample(noise))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_deterministic_bottleneck_has_its_mode_alone():
    tokenizer = fresh("autoencoder")
    assert torch.equal(tokenizer.encode(images(), sample=True), tokenizer.encode(images()))


def test_images_stay_in_their_range():
    tokenizer = fresh()
    z = 1e4 * DRAWS.normal("z", 2, EXPERIMENT.tokenizer.tokens, EXPERIMENT.tokenizer.channels)
    tokenizer.tokenizer.to_pixels.weight *= 100
    assert tokenizer.tokenizer.decode(z).abs().max() > 1
    assert tokenizer.decode(z).abs().max() == 1


def test_weights_are_frozen_and_gradients_reach_images(pretrained):
    assert not any(module.training for made in (pretrained, fresh()) for module in made.modules())
    assert not any(parameter.requires_grad for parameter in pretrained.parameters())
    x = images().requires_grad_()
    pretrained.reconstruct(x).sum().backward()
    assert x.grad.abs().max() > 0


NAN = torch.full((1, 3, SIDE, SIDE), torch.nan)
WRONG_IMAGES = {
    "size": (torch.zeros(2, 3, 16, 16), rf"images are float32 \(2, 3, 16, 16\): .*\(B, 3, {SIDE}, {SIDE}\)"),
    "one image": (torch.zeros(3, SIDE, SIDE), r"images are float32 \(3, "),
    "channels": (torch.zeros(1, 4, SIDE, SIDE), r"images are float32 \(1, 4, "),
    "no image": (torch.zeros(0, 3, SIDE, SIDE), r"images are float32 \(0, 3, "),
    "bytes": (torch.zeros(1, 3, SIDE, SIDE, dtype=torch.uint8), r"images are uint8 .*floating point"),
    "range": (torch.full((1, 3, SIDE, SIDE), 255.0), r"images span \[255, 255\]: values in \[-1, 1\]"),
    "NaN": (NAN, r"images span \[nan, nan\]"),
}
WRONG_LATENTS = {
    "tokens": (torch.zeros(1, 7, 4), r"latents are float32 \(1, 7, 4\): .*\(B, 8, 4\)"),
    "channels": (torch.zeros(1, 8, 5), r"latents are float32 \(1, 8, 5\)"),
    "one image": (torch.zeros(8, 4), r"latents are float32 \(8, 4\)"),
    "integers": (torch.zeros(1, 8, 4, dtype=torch.int64), r"latents are int64"),
    "none": (torch.zeros(0, 8, 4), r"latents are float32 \(0, 8, 4\)"),
    "infinite": (torch.full((1, 8, 4), torch.inf), "NaN or infinite"),
}


@pytest.mark.parametrize("case", WRONG_IMAGES)
def test_wrong_images_are_refused(case, pretrained):
    x, expected = WRONG_IMAGES[case]
    for method in (pretrained.encode, pretrained.posterior, pretrained.reconstruct):
        with pytest.raises(ValueError, match=expected):
            method(x)


@pytest.mark.parametrize("case", WRONG_LATENTS)
def test_wrong_latents_are_refused(case, pretrained):
    z, expected = WRONG_LATENTS[case]
    with pytest.raises(ValueError, match=expected):
        pretrained.decode(z)


# What is refused


def changed(published: Path, place: Path, change) -> Path:
    shutil.copytree(published, place)
    content = json.loads((place / "config.json").read_text())
    change(content)
    (place / "config.json").write_text(json.dumps(content))
    return place


CHANGES = {
    "field": (lambda c: c.update(colour="red"), "config.json: colour: unknown field"),
    "field of a part": (
        lambda c: c["tokenizer"]["masking"].update(ratio=0.5),
        "tokenizer.masking.ratio: unknown field",
    ),
    "field of a source": (lambda c: c["origin"]["sources"][0].update(day=1), "origin.sources.0.day: unknown field"),
    "field of a number": (lambda c: c["origin"]["records"][0].update(day=1), "origin.records.0.day: unknown field"),
    "number without protocol": (lambda c: c["origin"]["records"][0].pop("protocol"), "origin.records.0.protocol: "),
    "missing": (lambda c: c["tokenizer"].pop("tokens"), "config.json: tokenizer.tokens: "),
    "range": (lambda c: c["tokenizer"]["masking"].update(max_ratio=2), "tokenizer.masking.max_ratio: "),
    "size": (lambda c: c.update(image_size=30), "image size 30 px is not a multiple of patch_size"),
    "half of the statistics": (lambda c: c.pop("latent_std"), "latent_mean and latent_std go together"),
    "wide": (lambda c: c["tokenizer"]["decoder"].update(width=4 * 10**8), "asks for "),
    "deep": (lambda c: c["tokenizer"]["encoder"].update(depth=10**9), "asks for "),
    "channels": (
        lambda c: (c["tokenizer"].update(channels=10**9), c.pop("latent_mean"), c.pop("latent_std")),
        "asks for ",
    ),
    "tokens": (lambda c: c["tokenizer"].update(tokens=10**9), "tokens L = 1000000000 "),
    "image": (lambda c: c.update(image_size=4 * 10**6), "asks for "),
    "beyond": (lambda c: c["tokenizer"].update(tokens=10**40), "tokenizer.tokens: "),
    "statistics": (lambda c: c.update(latent_mean=[0.0]), "latent_mean has 1 values for 4 channels"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_configuration_that_is_not_one_is_refused_in_one_line(case, published, tmp_path):
    change, expected = CHANGES[case]
    with pytest.raises(Mistake) as error:
        PretrainedTokenizer.from_pretrained(changed(published, tmp_path / "changed", change))
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_folder_without_a_file_is_no_tokenizer(name, published, tmp_path):
    shutil.copytree(published, tmp_path / "torn")
    (tmp_path / "torn" / name).unlink()
    with pytest.raises(Mistake, match=f"is no pretrained tokenizer: it has no {name}"):
        PretrainedTokenizer.from_pretrained(tmp_path / "torn")


def test_damaged_files_are_told(published, tmp_path):
    shutil.copytree(published, tmp_path / "torn")
    path = tmp_path / "torn/model.safetensors"
    whole = load_file(path)
    for damage in (lambda: path.write_bytes(path.read_bytes()[:-9]), lambda: drop_one(path, whole)):
        damage()
        with pytest.raises(Trouble, match=r"model\.safetensors is damaged or does not fit its config\.json") as error:
            PretrainedTokenizer.from_pretrained(tmp_path / "torn")
        assert "\n" not in str(error.value)
    (tmp_path / "torn/config.json").write_text("{")
    with pytest.raises(Mistake, match=r"config\.json of .* is not JSON"):
        PretrainedTokenizer.from_pretrained(tmp_path / "torn")


def drop_one(path: Path, whole: dict[str, torch.Tensor]) -> None:
    save_file({name: tensor for name, tensor in whole.items() if not name.endswith("to_pixels.bias")}, path)


# The Hub


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The Hub cannot be reached; the addresses that were asked for."""
    addresses = []

    def metadata(url: str, **options: object) -> None:
        addresses.append(url)
        raise ConnectionError("no route to host")

    monkeypatch.setattr("harness.hub.tokenizer.get_hf_file_metadata", metadata)
    monkeypatch.setattr("huggingface_hub.file_download.get_hf_file_metadata", metadata)
    return addresses


@pytest.mark.parametrize("name", ["nowhere", "./a/b", "a/b/c", "/nowhere/at/all", "~/models", "../b", "a b/c", ""])
def test_what_is_neither_a_folder_nor_a_repository_is_refused_without_asking(name, unreachable):
    with pytest.raises(Mistake, match="is neither a folder nor a repository of the Hub, which is written OWNER/NAME"):
        PretrainedTokenizer.from_pretrained(name)
    assert not unreachable


def test_a_hub_that_cannot_be_reached_is_asked_once(unreachable, tmp_path):
    with pytest.raises(Trouble, match="owner/name is neither a folder nor cached, and the Hub cannot be reached"):
        PretrainedTokenizer.from_pretrained("owner/name", cache_dir=tmp_path)
    assert len(unreachable) == 1


def test_what_the_hub_gave_before_is_used_where_it_cannot_be_reached(unreachable, published, pretrained, tmp_path):
    place = tmp_path / "models--owner--name"
    shutil.copytree(published, place / "snapshots" / "0123456")
    (place / "refs").mkdir()
    (place / "refs/main").write_text("0123456")
    found = PretrainedTokenizer.from_pretrained("owner/name", cache_dir=tmp_path)
    assert found.weights_sha256 == pretrained.weights_sha256
    assert found.config == pretrained.config


def test_a_repository_that_the_hub_does_not_have_is_told(monkeypatch):
    def metadata(*_: object, **__: object) -> None:
        response = SimpleNamespace(status_code=404, headers={}, request=None)
        raise RepositoryNotFoundError("not found\nat all", response=response)

    monkeypatch.setattr("harness.hub.tokenizer.get_hf_file_metadata", metadata)
    with pytest.raises(Mistake) as error:
        PretrainedTokenizer.from_pretrained("owner/name")
    assert str(error.value).startswith("owner/name is no folder, and the Hub has no pretrained tokenizer of that name")
    assert str(error.value).endswith("(HTTP 404)")


@pytest.mark.parametrize(
    "content", [b"[]", b"null", b"3", b"[" * 100_000, b'{"a": ' * 100_000, b"\xff\xfe", b""], ids=range(7)
)
def test_what_is_no_configuration_at_all_is_a_mistake(content, published, tmp_path):
    place = shutil.copytree(published, tmp_path / "changed")
    (place / "config.json").write_bytes(content)
    with pytest.raises(Mistake) as error:
        PretrainedTokenizer.from_pretrained(place)
    assert "config.json" in str(error.value) and "\n" not in str(error.value)


def test_weights_that_are_no_numbers_are_refused(published, tmp_path):
    place = shutil.copytree(published, tmp_path / "changed")
    path = place / "model.safetensors"
    state = {name: torch.full_like(values, torch.nan) for name, values in load_file(path).items()}
    save_file(state, path)
    with pytest.raises(Trouble, match="weights that are NaN or infinite"):
        PretrainedTokenizer.from_pretrained(place)
