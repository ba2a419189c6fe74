"""Pretrained tokenizers, and the command `publish` that makes them of finished runs."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import numpy as np
import pytest
import torch
from huggingface_hub.errors import RepositoryNotFoundError
from safetensors.torch import load_file, save_file

from harness import publish
from harness.data.sets import embedded
from harness.data.splits import open_split
from harness.data.tensors import to_tensor
from harness.evaluation import records as metrics
from harness.hub import origin
from harness.hub.config import Origin, PretrainedConfig, Source
from harness.hub.tokenizer import PretrainedTokenizer
from harness.latents import autoencode
from harness.latents.statistics import load_statistics
from harness.networks import weights
from harness.planning.task import task
from harness.store.records import Record
from harness.store.runs import Run, Store
from harness.system.errors import Mistake, Trouble
from harness.system.machine import Machine
from models.variants import VARIANTS
from tests.conftest import DRAWS, SIDE, experiment, images

MACHINE = Machine("cpu", "float32", 1)
EXPERIMENT = experiment("mactok")
FILES = ["README.md", "config.json", "model.safetensors"]
RECORD = Record("psnr", 21.5, 64, 40, "val", "in words", None, (20.0, 23.0), "lite-0123")
ORIGIN = Origin("mactok", "smoke", "40 steps", "embedded", "", (Source("tokenizer", "ab12", "cd34", False),), (RECORD,))


def run_of(store: Store, stage: str) -> Run:
    return task(stage, EXPERIMENT).run_in(store)


@pytest.fixture(scope="module")
def store(runs: Path) -> Store:
    return Store(runs)


@pytest.fixture(scope="module")
def published(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `publish` makes of the finished row. Tests copy it, never change it."""
    out = tmp_path_factory.mktemp("published") / "mactok"
    words = ["--run", run_of(store, "evaluation").key[:10], "--runs", str(store.root), "--out", str(out)]
    assert publish.main(words) == 0
    return out


@pytest.fixture(scope="module")
def pretrained(published: Path) -> PretrainedTokenizer:
    return PretrainedTokenizer.from_pretrained(published)


def fresh(variant: str = "mactok", **fields: object) -> PretrainedTokenizer:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return PretrainedTokenizer(PretrainedConfig(SIDE, experiment(variant, **fields).tokenizer, ORIGIN))


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


# The card


def card_of(folder: Path) -> str:
    return (folder / "README.md").read_text(encoding="utf-8")


def cells(card: str) -> dict[str, list[str]]:
    """The numbers of a card by the id of their protocol."""
    rows = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in card.splitlines() if line.startswith("|")]
    return {row[-1]: row[:-1] for row in rows if len(row) == 5 and row[2].isdigit()}


def test_the_card_has_every_number_with_its_protocol_and_n(store, published):
    card, records = card_of(published), run_of(store, "evaluation").records()
    found = cells(card)
    assert found.keys() == {r.protocol_id for r in records}
    assert len(records) > 20
    for r in records:
        title, value, n, split = found[r.protocol_id]
        assert title.startswith(metrics.full_title(r.metric, metrics.protocol_in(r.protocol_id)))
        assert float(re.match(r"[-\d.]+", value)[0]) == pytest.approx(r.value, abs=0.51, rel=1e-2)
        assert ("±" in value) == (r.deviation is not None)
        assert ("[" in value) == (r.interval is not None)
        assert (n, split) == (str(r.n), r.split)
        assert re.search(rf"^- .*{re.escape(r.protocol)} \(.*`{r.protocol_id}`", card, re.MULTILINE)


def test_an_interval_and_a_unit_are_shown(tmp_path):
    fresh().save_pretrained(tmp_path)
    assert "| PSNR (dB) | 21.50 [20.00, 23.00] | 64 | `val` | `lite-0123` |" in card_of(tmp_path)


def test_the_card_tells_where_everything_comes_from(store, published, pretrained):
    card, statistics = card_of(published), load_statistics(run_of(store, "latents"))
    assert card.startswith("---\nlibrary_name: tokenizer-harness\n")
    assert embedded.attribution in card
    assert "40 steps of 16 images, then the decoder alone for 8, seed 0" in card
    assert pretrained.weights_sha256 in card
    for stage in ("data", "tokenizer", "finetuning", "latents", "evaluation"):
        run = run_of(store, stage)
        commit = run.status()["attempts"][-1]["environment"]["commit"]
        assert f"| {stage} | `{run.key}` | `{commit[:12]}`" in card
    assert torch.equal(pretrained.statistics.mean, statistics.mean)
    assert torch.equal(pretrained.statistics.std, statistics.std)
    for channel, (mean, std) in enumerate(zip(*(part.tolist() for part in statistics), strict=True)):
        assert f"| {channel} | {mean:.4f} | {std:.4f} |" in card


def test_the_lines_of_the_card_work(published):
    code = re.search("```python\n(.*?)```", card_of(published), re.DOTALL)[1].replace("OWNER/NAME", str(published))
    names = {"x": images()}
    exec(code, names)
    assert names["z"].shape == (len(images()), 8, 4)
    assert names["x"].shape == images().shape


def test_numbers_are_those_of_the_weights_that_are_named(store, published, tmp_path):
    words = ["--runs", str(store.root), "--out", str(tmp_path / "before")]
    assert publish.main(["--run", run_of(store, "tokenizer").key, *words]) == 0
    last = [r for r in run_of(store, "snapshots").records() if r.step == EXPERIMENT.training.steps]
    before = cells(card_of(tmp_path / "before"))
    assert before.keys() == {r.protocol_id for r in last}
    assert "the decoder alone" not in card_of(tmp_path / "before")
    loaded = {p.name: PretrainedTokenizer.from_pretrained(p) for p in (tmp_path / "before", published)}
    found = {name: {r.metric: r.value for r in made.config.origin.records} for name, made in loaded.items()}
    assert found["before"]["rfd"] == next(r.value for r in last if r.metric == "rfd")
    assert found["before"]["rfd"] != found["mactok"]["rfd"]
    x = to_tensor(np.asarray(open_split(run_of(store, "data").folder, "val").images))
    for name, made in loaded.items():  # the runs may have computed in bfloat16
        errors = (made.reconstruct(x) - x).square().mean((1, 2, 3))
        of_val = next(r.value for r in made.config.origin.records if r.metric == "psnr" and r.split == "val")
        assert (10 * (4 / errors).log10()).mean().item() == pytest.approx(of_val, abs=0.01), name


def test_a_tokenizer_that_nobody_measured_says_so(store, tmp_path):
    kept = ("data", "teacher_features", "tokenizer", "finetuning")
    for stage in kept:
        shutil.copytree(store.root / stage, tmp_path / "runs" / stage)
    made = PretrainedTokenizer.of_run(Store(tmp_path / "runs"), run_of(store, "finetuning"))
    assert made.statistics is None
    card = str(made.generate_model_card())
    assert "No metrics of these weights were measured." in card
    assert "The statistics of the latents were not measured." in card


def test_data_without_a_licence_is_told(tmp_path):
    fresh().save_pretrained(tmp_path)
    assert "states no licence" in card_of(tmp_path)


def test_what_differs_from_a_variant_is_named():
    assert origin._variant(experiment("mactok")) == "mactok"
    assert (
        origin._variant(experiment("kl_vae", tokenizer__gaussian__kl_weight=0.5)) == "kl_vae, gaussian.kl_weight = 0.5"
    )


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
    asked = []

    def metadata(url: str, **options: object) -> None:
        asked.append(url)
        raise ConnectionError("no route to host")

    monkeypatch.setattr("harness.hub.tokenizer.get_hf_file_metadata", metadata)
    monkeypatch.setattr("huggingface_hub.file_download.get_hf_file_metadata", metadata)
    return asked


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


@pytest.fixture
def uploaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where the uploads to the Hub go, by repository."""
    place = tmp_path / "hub"

    def create_repo(self: object, repo_id: str, **_: object) -> SimpleNamespace:
        return SimpleNamespace(repo_id=repo_id)

    def upload_folder(self: object, *, repo_id: str, folder_path: Path, **_: object) -> str:
        shutil.copytree(folder_path, place / repo_id)
        return f"uploaded to {repo_id}"

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", create_repo)
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", upload_folder)
    return place


def test_what_is_pushed_is_the_whole_folder(store, published, uploaded, tmp_path, capsys):
    words = ["--run", run_of(store, "finetuning").key, "--runs", str(store.root), "--out", str(tmp_path / "out")]
    assert publish.main([*words, "--push", "owner/name"]) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == "uploaded to owner/name"
    for folder in (uploaded / "owner/name", tmp_path / "out"):
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
            name: (published / name).read_bytes() for name in FILES
        }
    assert all(str(tmp_path / "out" / name) in printed for name in FILES)


def test_what_cannot_be_pushed_is_written_and_told(store, monkeypatch, tmp_path):
    def create_repo(*_: object, **__: object) -> None:
        raise RuntimeError("no token\nof yours")

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", create_repo)
    words = ["--run", run_of(store, "finetuning").key, "--runs", str(store.root), "--out", str(tmp_path / "out")]
    with pytest.raises(Trouble) as error:
        publish.main([*words, "--push", "owner/name"])
    assert str(error.value) == f"{tmp_path / 'out'} is written, but owner/name of the Hub is not: no token"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == FILES


# publish


def refused(store: Store, out: Path, stage: str = "finetuning", *words: str) -> str:
    """The one line with which the command refuses, before it writes anything."""
    before = sorted(path for path in out.parent.rglob("*"))
    with pytest.raises(Mistake) as error:
        publish.main(["--run", run_of(store, stage).key, "--runs", str(store.root), "--out", str(out), *words])
    assert sorted(path for path in out.parent.rglob("*")) == before
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("stage", ["data", "latents", "generator"])
def test_a_run_has_to_have_a_tokenizer(stage, store, tmp_path):
    assert f"is a run of the stage {stage}, and not of " in refused(store, tmp_path / "out", stage)


def test_a_run_has_to_be_finished(store, tmp_path):
    shutil.copytree(store.root / "finetuning", tmp_path / "runs/finetuning")
    made = Store(tmp_path / "runs")
    run_of(made, "finetuning").set_state("stopped", "asked to stop")
    assert refused(made, tmp_path / "out").endswith("is not finished, but stopped")


def test_a_folder_that_holds_something_is_left_alone(store, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("mine")
    for out in (tmp_path / "full", tmp_path / "full/mine.txt"):
        assert refused(store, out) == f"--out {out} exists and is not an empty folder"


@pytest.mark.parametrize("name", ["name", "a/b/c", "./x"])
def test_a_repository_has_to_be_named_as_one(name, store, tmp_path):
    assert "which is written OWNER/NAME" in refused(store, tmp_path / "out", "finetuning", "--push", name)


def test_an_empty_folder_is_filled(store, tmp_path):
    words = ["--run", run_of(store, "finetuning").key, "--runs", str(store.root), "--out", str(tmp_path)]
    assert publish.main(words) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES


def test_an_interrupted_command_leaves_nothing(store, monkeypatch, tmp_path):
    def save(self: PretrainedTokenizer, folder: Path) -> None:
        folder.mkdir()
        (folder / "config.json").write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(PretrainedTokenizer, "save_pretrained", save)
    with pytest.raises(KeyboardInterrupt):
        publish.main(
            ["--run", run_of(store, "finetuning").key, "--runs", str(store.root), "--out", str(tmp_path / "out")]
        )
    assert not list(tmp_path.iterdir())
