"""Teachers whose features are cached and teachers that are asked online, in the stages that read them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from harness.data.splits import open_split
from harness.data.tensors import to_tensor
from harness.execution.demand import Fixed, Options
from harness.execution.executors import inline
from harness.experiments.experiment import Experiment
from harness.networks import frozen as networks
from harness.networks import roles, teachers
from harness.networks.weight_files import short_checksum
from harness.planning.stage import Work
from harness.planning.task import task, tasks
from harness.stages import difficulty, tokenizer
from harness.store.runs import Store
from harness.system.errors import Mistake
from harness.system.machine import this_machine
from harness.training import teacher as teaching
from harness.training.batches import Batch, Batches
from harness.training.teacher import TeacherFeatures
from models.config import Transformer
from tests.conftest import DRAWS, experiment

ONLINE = "lite0_online"  # the same network as efficientnet_lite0, asked at every step
TRAIN = 40
PROBED = 24
SMALL = "vit_of_these_tests"
SIZE = Transformer(32, 1, 2)  # of smoke


@pytest.fixture(scope="module", autouse=True)
def online_teacher():
    with pytest.MonkeyPatch.context() as patch:
        known = teachers.TEACHERS["efficientnet_lite0"]
        patch.setitem(teachers.TEACHERS, ONLINE, dataclasses.replace(known, cached=False))
        yield


def small(teacher: str = "efficientnet_lite0", variant: str = "mactok", **fields: object) -> Experiment:
    sizes = {"data__train_images": TRAIN, "data__val_images": 16, "evaluation__probe_images": PROBED}
    short = {"training__steps": 2, "training__warmup_steps": 1, "training__batch_images": 4}
    return experiment(variant, teacher=teacher, **sizes | short | fields)


def run(store: Store, stage: str, of: Experiment) -> Work:
    """Runs `stage` and what it needs; it and its inputs, as a stage gets them."""
    planned = tasks([of], (stage,))
    inline.execute(Fixed(dict.fromkeys(planned, "")), store, Options(quiet=True))
    assert {t.run_in(store).state for t in planned} == {"done"}, [t.run_in(store).status() for t in planned]
    t = task(stage, of)
    inputs = {name: needed.run_in(store) for name, needed in t.inputs.items()}
    return Work(of, t.run_in(store), inputs, this_machine(), lambda: False, "", quiet=True)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def works(store: Store) -> dict[str, Work]:
    """Stage difficulty by a cached and by an online teacher."""
    return {name: run(store, "difficulty", small(name)) for name in ("efficientnet_lite0", ONLINE)}


# What is planned


def test_only_a_cached_teacher_has_a_stage():
    assert teaching.needed(small()) == ("teacher_features",)
    assert teaching.needed(small(ONLINE)) == teaching.needed(small("dinov2_vitl14")) == ()
    assert (teaching.online(small()), teaching.online(small(ONLINE))) == (None, ONLINE)
    assert "teacher_features" in {t.stage for t in tasks([small()])}
    assert "teacher_features" not in {t.stage for t in tasks([small("dinov2_vitl14")])}
    with pytest.raises(Mistake, match="unknown teacher"):
        tasks([small("dinov4")])


@pytest.mark.parametrize("stage", ["tokenizer", "difficulty"])
def test_an_online_teacher_is_in_the_key_of_whoever_asks_it(stage):
    keys = {task(stage, small(name)).key for name in teachers.TEACHERS}
    assert len(keys) == len(teachers.TEACHERS)
    alone = {task("tokenizer", small(name, "image_masking")).key for name in teachers.TEACHERS}
    assert len(alone) == 1


def test_the_grid_of_an_online_teacher_is_in_the_key_of_difficulty():
    other = small(ONLINE, tokenizer__patch_size=8)
    assert task("difficulty", other).key != task("difficulty", small(ONLINE)).key


# What is said of images


def batches(work: Work) -> Batches:
    images = open_split(work.inputs["data"].folder, "train").images
    return Batches(images, 8, 0, "tests", work.machine)


def test_cached_and_online_features_are_the_same(works):
    cached, online = (TeacherFeatures(work) for work in works.values())
    assert cached.widths == online.widths == (112, 1280)
    batch = batches(works[ONLINE])(0)
    batch.x.requires_grad_()
    assert 0 < batch.flips.sum() < len(batch.flips)
    for found, expected in zip(online.features(batch), cached.features(batch), strict=True):
        assert found.dtype == expected.dtype == torch.float32
        assert not found.requires_grad
        # float16 on disk; and the batch was another
        torch.testing.assert_close(found, expected, atol=0.01 * expected.abs().max().item(), rtol=0.01)


@pytest.mark.parametrize("name", ["efficientnet_lite0", ONLINE])
def test_features_of_a_mirrored_image_are_those_of_its_mirror_image(name, works):
    features, work = TeacherFeatures(works[name]).features, works[name]
    x = work.machine.put(to_tensor(open_split(work.inputs["data"].folder, "train").images[:4]))
    indices, no, yes = torch.arange(4), torch.zeros(4, dtype=torch.bool), torch.ones(4, dtype=torch.bool)
    plain, mirrored = features(Batch(x, indices, no)), features(Batch(x.flip(-1), indices, yes))
    assert not torch.equal(plain.c, mirrored.c)
    teacher = teachers.teacher(name).load(teaching.patches(work.experiment), work.machine)
    with torch.no_grad(), work.machine.autocast():
        for found, exact in ((plain, teacher(x)), (mirrored, teacher(x.flip(-1)))):
            for one, other in zip(found, exact, strict=True):
                torch.testing.assert_close(one, other, atol=0.01 * other.abs().max().item(), rtol=0.01)


def test_only_an_online_teacher_is_remembered_by_whoever_asks_it(works):
    cached, online = (TeacherFeatures(work) for work in works.values())
    known = teachers.TEACHERS[ONLINE]
    assert cached.facts == {}
    assert online.facts == {"teacher": known.about, "teacher_weights": short_checksum(known.weights())}


# Stages


def test_difficulty_is_the_same_by_an_online_teacher_but_for_the_images_it_scores(works):
    cached, online = ({(r.metric, r.split): r for r in work.run.records()} for work in works.values())
    assert cached.keys() == online.keys()
    for place, expected in cached.items():
        found = online[place]
        scores = place[0] in ("semantic_precision", "random_precision")
        assert (expected.n, found.n) == ((TRAIN, PROBED) if scores else (16, 16))
        if not scores:
            assert found.value == pytest.approx(expected.value, abs=100 / 16)
    work = works["efficientnet_lite0"]
    s = np.load(work.inputs["teacher_features"].file("s.npy"))[:, 0]
    masks = open_split(work.inputs["data"].folder, "train").masks
    precision, foreground = difficulty.mask_precision(s, masks)
    assert cached["semantic_precision", "train"].value == 100 * precision
    precision, foreground = difficulty.mask_precision(s[:PROBED], masks[:PROBED])
    assert online["semantic_precision", "train"].value == pytest.approx(100 * precision, abs=1)
    assert online["random_precision", "train"].value == pytest.approx(100 * foreground)


def test_a_tokenizer_learns_from_an_online_teacher_what_it_learns_from_a_cached_one(store):
    cached, online = (run(store, "tokenizer", small(name)).run for name in ("efficientnet_lite0", ONLINE))
    states = [load_file(of.file("weights.safetensors")) for of in (cached, online)]
    for name, tensor in states[0].items():
        torch.testing.assert_close(states[1][name], tensor, atol=2e-3, rtol=0)  # the learning rate
    with np.load(cached.file("masks.npz")) as one, np.load(online.file("masks.npz")) as other:
        assert one["masks"].any()
        assert (one["masks"] == other["masks"]).mean() > 0.95
    assert "teacher" not in cached.result()["facts"]
    assert online.result()["facts"]["teacher"].startswith("EfficientNet-Lite0")


@pytest.fixture
def of_smoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """A DINOv2 of the size of smoke's encoder, in a file; its tensors."""
    create = timm.create_model

    def created(name: str, **options: object) -> nn.Module:
        sizes = {"patch_size": 14, "embed_dim": SIZE.width, "depth": SIZE.depth, "num_heads": SIZE.heads}
        options.pop("pretrained", None)
        return VisionTransformer(init_values=1.0, **sizes, **options) if name == SMALL else create(name, **options)

    monkeypatch.setattr(timm, "create_model", created)
    monkeypatch.setitem(roles.ENCODERS, SIZE, "dinov2_vits14")
    monkeypatch.setitem(networks.VITS, "dinov2_vits14", SMALL)
    monkeypatch.setenv("TOKENIZER_WEIGHTS", str(tmp_path))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = created(SMALL, num_classes=0, img_size=14 * 10).state_dict()
    save_file(state, tmp_path / "dinov2_vits14.safetensors")
    return state


def test_an_encoder_starts_from_dinov2_and_the_rest_as_it_would(of_smoke, store, tmp_path):
    frozen = {"training__learning_rate": 0.0, "training__weight_decay": 0.0}
    fresh, started = (
        run(store, "tokenizer", small(ONLINE, tokenizer__dinov2_encoder=started, **frozen)).run
        for started in (False, True)
    )
    of_fresh, of_started = (load_file(of.file("weights.safetensors")) for of in (fresh, started))
    assert torch.equal(of_started["encoder.0.qkv.weight"], of_smoke["blocks.0.attn.qkv.weight"])
    different = {name.partition(".")[0] for name, x in of_fresh.items() if not torch.equal(of_started[name], x)}
    assert different == {"embed", "image_positions", "encoder"}
    weights = short_checksum(tmp_path / "dinov2_vits14.safetensors")
    assert started.result()["facts"]["encoder_weights"] == weights
    assert "encoder_weights" not in fresh.result()["facts"]


@pytest.mark.parametrize(
    "fields",
    [{"tokenizer__dinov2_encoder": True}, {"teacher": "dinov2_vits14"}, {"tokenizer__perceptual__lpips": True}],
)
def test_missing_weights_are_told_before_the_training(fields, store, tmp_path, monkeypatch):
    monkeypatch.setenv("TOKENIZER_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setitem(roles.ENCODERS, SIZE, "dinov2_vits14")
    monkeypatch.setattr("harness.training.loop.train", lambda *_, **__: pytest.fail("trains"))
    data, of = run(store, "data", small()), small(**{"teacher": ONLINE} | fields)
    with pytest.raises(Mistake, match="are missing"):
        tokenizer.run(dataclasses.replace(data, experiment=of, inputs={"data": data.run}))


@pytest.mark.parametrize("name", [name for name, known in teachers.TEACHERS.items() if known.cached])
def test_a_cached_teacher_has_the_widths_that_it_declares(name):
    """Those whose weights are installed, or that have none."""
    known, machine = teachers.TEACHERS[name], this_machine()
    x = machine.put(DRAWS.uniform("x", 3, 3, 32, 32) * 2 - 1)
    c, p, s = known.load(4, machine)(x)
    assert (c.shape, p.shape, s.shape) == ((3, known.class_width), (3, 16, known.patch_width), (3, 16))
    assert c.isfinite().all() and p.isfinite().all() and s.isfinite().all()
    for one, other in zip(known.load(4, machine)(x), (c, p, s), strict=True):
        assert torch.equal(one, other)  # the same weights every time
