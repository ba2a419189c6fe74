"""The command `publish`, which makes pretrained tokenizers of finished runs, and the card that it writes."""

from __future__ import annotations

import dataclasses
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import numpy as np
import pytest
import torch
from PIL import Image

from harness import publish
from harness.data.sets import embedded
from harness.data.splits import open_split
from harness.data.tensors import to_tensor
from harness.evaluation import records as metrics
from harness.experiments.fields import with_fields
from harness.hub import origin
from harness.hub.pictures import SHOWN
from harness.hub.tokenizer import PretrainedTokenizer
from harness.latents.statistics import load_statistics
from harness.store.runs import Store
from harness.system.errors import Mistake, Trouble
from tests.conftest import SIDE, experiment, images
from tests.hub.tokenizers import EXPERIMENT, FILES, fresh, run_of

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


def test_numbers_are_those_of_the_weights_that_are_named(store, published, tmp_path, capsys):
    words = ["--runs", str(store.root), "--out", str(tmp_path / "before")]
    assert publish.main(["--run", run_of(store, "tokenizer").key, *words]) == 0
    last = [r for r in run_of(store, "snapshots").records() if r.step == EXPERIMENT.training.steps]
    before = cells(card_of(tmp_path / "before"))
    assert before.keys() == {r.protocol_id for r in last}
    assert "the decoder alone" not in card_of(tmp_path / "before")
    for told in (card_of(tmp_path / "before"), capsys.readouterr().out):
        assert "its decoder is not fine-tuned: tables measure the tokenizer of the stage finetuning" in told
    assert "not fine-tuned" not in card_of(published)
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


def test_data_without_a_licence_is_told_and_not_shown(tmp_path):
    fresh().save_pretrained(tmp_path)
    assert "states no licence" in card_of(tmp_path)
    assert "![" not in card_of(tmp_path)
    assert not (tmp_path / "reconstructions.png").exists()


SENTENCES = {  # of cards: variant, whether it was trained on mirror images too; what statistics are over, bottleneck
    ("mactok", True): ("the training images, their mirror images, tokens and posterior samples", "Gaussian, KL weight"),
    ("mactok", False): ("the training images, tokens and posterior samples", "Gaussian, KL weight"),
    ("maetok", True): ("the training images, their mirror images and tokens", "deterministic"),
    ("maetok", False): ("the training images and tokens", "deterministic"),
    ("titok", True): ("the training images, their mirror images and tokens", r"[\d,]+ codes"),
    ("softvq", True): ("the training images, their mirror images and tokens", r"means of \d+ x [\d,]+ codes"),
}


@pytest.mark.parametrize(("variant", "mirrored"), SENTENCES)
def test_the_card_says_what_the_configuration_says(variant, mirrored):
    averaged, bottleneck = SENTENCES[variant, mirrored]
    config = fresh(variant).config
    ones = (1.0,) * config.latents.channels
    config = dataclasses.replace(config, latent_mean=ones, latent_std=ones, mirrored=mirrored)
    card = str(PretrainedTokenizer(config).generate_model_card())
    assert f"The statistics are over {averaged}. Train" in card
    assert re.search(rf"^\| bottleneck \| {bottleneck}", card, re.MULTILINE)
    assert ("the posterior's mode" in card) == config.tokenizer.gaussian.on


@pytest.mark.parametrize("flip", ["true", "false"])
def test_the_card_says_whether_images_were_mirrored(flip):
    words = origin._trained(with_fields(EXPERIMENT, {"data.flip": flip}), "tokenizer")
    assert ("none of them mirrored" in words) == (flip == "false")


def test_hubs_read_the_licence_and_the_numbers_with_their_protocols(store, published):
    data = huggingface_hub.ModelCard.load(published / "README.md").data
    assert (data.license, data.pipeline_tag, data.model_name) == ("apache-2.0", "image-to-image", "mactok")
    found = {(r.metric_type, r.dataset_split, r.metric_args["protocol"]): r for r in data.eval_results}
    records = run_of(store, "evaluation").records()
    assert found.keys() == {(r.metric, r.split, r.protocol_id) for r in records}
    for r in records:
        result = found[r.metric, r.split, r.protocol_id]
        assert result.metric_args["images"] == r.n
        shown = re.match(r"[-\d.]+", cells(card_of(published))[r.protocol_id][1])[0]
        assert result.metric_value == float(shown) == pytest.approx(r.value, abs=0.51, rel=1e-2)
        assert len(str(result.metric_value)) < 10
        assert result.metric_name == metrics.full_title(r.metric, metrics.protocol_in(r.protocol_id))
        assert (result.dataset_type, result.dataset_name) == ("embedded", "embedded at 32 px")


def test_the_picture_shows_images_of_val_above_their_reconstructions(store, published, pretrained):
    (shown,) = re.findall(r"^!\[.*\]\((.*)\)$", card_of(published), re.MULTILINE)
    with Image.open(published / shown) as image:
        pixels = np.asarray(image).astype(int)
    val = np.asarray(open_split(run_of(store, "data").folder, "val").images[:SHOWN])
    assert pixels.shape == (2 * SIDE, SHOWN * SIDE, 3)
    above, below = (np.stack(np.split(line, SHOWN, axis=1)) for line in np.split(pixels, 2))
    assert np.array_equal(above, val)
    errors = ((below - val) / 127.5) ** 2
    expected = ((pretrained.reconstruct(to_tensor(val)) - to_tensor(val)) ** 2).mean().item()
    assert errors.mean() == pytest.approx(expected, rel=0.02)
    text = card_of(published).partition(f"({shown})")[2].partition("##")[0]
    assert embedded.attribution in text


def test_the_install_line_is_that_of_a_checkout(store, published):
    commit = run_of(store, "finetuning").status()["attempts"][-1]["environment"]["commit"]
    assert f"commit `{commit[:12]}`:\n\n```sh\npip install .\n```" in card_of(published)
    assert (Path(publish.__file__).parents[1] / "pyproject.toml").exists()


def test_another_licence_is_kept(store, tmp_path):
    words = ["--run", run_of(store, "finetuning").key, "--runs", str(store.root), "--out", str(tmp_path / "out")]
    assert publish.main([*words, "--license", "cc-by-sa-4.0"]) == 0
    PretrainedTokenizer.from_pretrained(tmp_path / "out").save_pretrained(tmp_path / "again")
    for folder in ("out", "again"):
        assert huggingface_hub.ModelCard.load(tmp_path / folder / "README.md").data.license == "cc-by-sa-4.0"
        assert "The weights: cc-by-sa-4.0." in card_of(tmp_path / folder)


def test_what_differs_from_a_variant_is_named():
    assert origin._variant(experiment("mactok")) == "mactok"
    assert (
        origin._variant(experiment("kl_vae", tokenizer__gaussian__kl_weight=0.5)) == "kl_vae, gaussian.kl_weight = 0.5"
    )


# The Hub


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
def test_a_row_has_to_have_a_tokenizer(stage, store, tmp_path):
    shutil.copytree(store.root / stage, tmp_path / "runs" / stage)
    said = refused(Store(tmp_path / "runs"), tmp_path / "out", stage)
    assert f"is a run of the stage {stage}, and no run of finetuning or tokenizer or " in said


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


@pytest.mark.parametrize("name", ["Do what: you", "", "cc-by", "apache2"])
def test_a_licence_is_one_that_hubs_know(name, store, tmp_path):
    line = refused(store, tmp_path / "out", "finetuning", "--license", name)
    assert line.startswith(f"--license {name}: no identifier that model hubs know.")
    assert ("Did you mean" in line) == (name in ("cc-by", "apache2"))


@pytest.mark.parametrize(("given", "taken"), [([], "apache-2.0, the default"), (["--license", "MIT"], "mit")])
def test_the_licence_is_said_and_a_model_of_smoke_is_warned_of(given, taken, store, tmp_path, capsys):
    words = ["--run", run_of(store, "finetuning").key, "--runs", str(store.root), "--out", str(tmp_path / "out")]
    assert publish.main([*words, *given]) == 0
    printed = capsys.readouterr()
    assert f"licence of the weights: {taken}" in printed.out
    warned = printed.err.removeprefix("warning: ").strip()
    assert warned.startswith("This model was trained for seconds")
    assert f"\n**{warned}**\n" in card_of(tmp_path / "out")


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
