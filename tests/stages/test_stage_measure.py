"""Stages measure by another network than Lite2, on random weights; and what numbers are called."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import isfinite
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from harness.evaluation import records as metrics
from harness.evaluation.frechet import FeatureMoments
from harness.evaluation.generated import Generated
from harness.evaluation.records import records
from harness.evaluation.reference import TrainingFeatures
from harness.evaluation.reference import load as load_reference
from harness.experiments.experiment import Experiment
from harness.experiments.fields import with_fields
from harness.experiments.requests import AblationRequest, study_called
from harness.experiments.scales import scale
from harness.experiments.study import Row
from harness.networks import weight_files
from harness.networks.frozen import Outputs
from harness.networks.measures import dinov2, inception
from harness.networks.weight_files import INCEPTION, short_checksum
from harness.planning.task import task
from harness.store.records import Record
from harness.store.runs import Store
from harness.system import plugins
from harness.system.errors import Mistake
from harness.system.machine import Machine
from reports import tables
from reports.ablation.page import write
from reports.results import Result, protocol_of
from tests.conftest import experiment
from tests.networks.random_weights import SMALL, SMALL_PX, dinov2_file, inception_file
from tests.stages.few_images import FEW, run

FOILS = ("pca", "linear_gaussian", "pca_active")
STAGES = ("evaluation", "generation", *FOILS)
MEASURING = {"transfer", "reference", "snapshots", "generator_snapshots", *STAGES}
METRICS = {
    name: plugins.load("harness.evaluation.metrics", name, "metric")
    for name in plugins.names("harness.evaluation.metrics")
}
SEES = [name for name, metric in METRICS.items() if hasattr(metric, "names")]
NETWORKS = ("inception", "dinov2")
SHARES = ("precision", "recall")
WIDTHS = {"lite2": 120, "inception": 96, "dinov2": 384}  # the distance of 2,048 features takes its time
PAPER = {
    "evaluation__measure": "inception",
    "data__image_size": 256,
    "tokenizer__patch_size": 16,
    "data__train_images": 1_281_167,
}


def few(measure: str, **fields: object) -> Experiment:
    return experiment("mactok", **FEW, evaluation__measure=measure, **fields)


def narrow(
    load: Callable[[Machine], Callable[[Tensor], Outputs]], machine: Machine, *_: object, **__: object
) -> Callable[[Tensor], Outputs]:
    """A measure with the first of its features alone, at the side that `load` has, whatever a stage wants."""
    look = load(machine)

    def see(images: Tensor) -> Outputs:
        seen = look(images)
        return seen._replace(features=seen.features[:, : WIDTHS["inception"]] if seen.spatial is not None else seen[0])

    return see


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A row, measured on small networks of random weights that stand for Inception and DINOv2, and on Lite2."""
    folder = tmp_path_factory.mktemp("measured")
    loads = inception.load, partial(dinov2.load, side=SMALL_PX, timm_name=SMALL)
    with pytest.MonkeyPatch.context() as patched, torch.random.fork_rng():
        torch.manual_seed(0)
        inception_file(folder), dinov2_file(folder)
        patched.setenv(weight_files.FOLDER_VARIABLE, str(folder))
        patched.setattr(FeatureExtractorInceptionV3, "INPUT_IMAGE_SIZE", 75)
        for module, load in zip((inception, dinov2), loads, strict=True):
            patched.setattr(module, "load", partial(narrow, load))
        found = Store(folder / "runs")
        for measure in ("lite2", "inception", "dinov2"):
            assert set(run(found, few(measure), *STAGES).values()) == {"done"}
    return found


def of_stage(store: Store, measure: str, stage: str) -> list[Record]:
    return task(stage, few(measure)).run_in(store).records()


def everything(store: Store, measure: str) -> list[Record]:
    return [r for stage in (*STAGES, "reference") for r in of_stage(store, measure, stage)]


# Records


def file_of(store: Store, measure: str) -> Path:
    """Its random weights."""
    names = {"inception": INCEPTION.names[-1], "dinov2": "dinov2_vitl14.safetensors"}
    return store.root.parent / names[measure]


@pytest.mark.parametrize("measure", ["inception", "dinov2"])
def test_stages_measure_by_the_network_that_is_asked_for(measure, store):
    digits = short_checksum(file_of(store, measure))[:6]
    found, title = everything(store, measure), plugins.load("harness.networks.measures", measure, "measure").title
    assert all(isfinite(r.value) for r in found)
    by_network = [r for r in found if r.metric in SEES]
    assert {r.metric for r in by_network} == set(SEES) - ({"classifier_score"} if measure == "dinov2" else set())
    for r in found:
        assert (title in r.protocol) == (r.metric in SEES), r
        seen_by = f"{measure}-other-weights-{digits}-" if r.metric in SEES else "lite-"
        assert r.protocol_id.startswith(seen_by), r
        if r.metric in SEES:
            name = metrics.title(r.metric, metrics.protocol_in(r.protocol_id))
            assert name.endswith(f", other weights {digits})"), r
            assert not re.search(r"FID|\bIS\b", name), r
    for r in by_network:
        for other in ("Lite2", "bicubic, 8-bit", " 32 px"):
            assert other not in r.protocol.replace("`embedded` at 32 px", ""), r
    text = next(r.protocol for r in by_network if r.metric == "gfd" and r.split == "samples")
    module = plugins.load("harness.networks.measures", measure, "measure")
    for part in (f"{module.default_px} px {module.resizing}", "crop center", "the 24 training images", "no guidance"):
        assert part in text
    assert f"other weights {short_checksum(file_of(store, measure))}" in text


def test_what_no_network_sees_does_not_depend_on_the_measure(store):
    lite, other = ([r for r in everything(store, m) if r.metric not in SEES] for m in ("lite2", "inception"))
    assert lite == other != []
    for one in SEES:
        of_lite, *others = ([r.value for r in everything(store, m) if r.metric == one] for m in ("lite2", *NETWORKS))
        for values in filter(None, others):  # DINOv2 has no classifier
            # Shares of few images may be equal by chance, but not all of them; distances never are.
            assert of_lite != values if one in SHARES else not {*of_lite} & {*values}, one


def test_the_reference_is_what_the_network_sees(store):
    for measure, width in WIDTHS.items():
        found = load_reference(task("reference", few(measure)).run_in(store))
        assert found.features.shape == (24, width)
        assert found.moments is None


# Keys


def test_another_measure_trains_nothing_anew():
    lite, other = experiment(), experiment(evaluation__measure="inception")
    keys = {stage: task(stage, lite).key == task(stage, other).key for stage in plugins.names("harness.stages")}
    assert {stage for stage, same in keys.items() if not same} == MEASURING | {"plugin_metrics", "plugin_generation"}
    searched = [experiment(guidance__scales=(1.5, 2.0), evaluation__measure=m) for m in WIDTHS]
    for stage in (*MEASURING, "guidance"):
        assert len({task(stage, asked).key for asked in searched}) == len(WIDTHS), stage


def test_the_side_decides_where_the_network_has_none_of_its_own():
    for measure, decides in (("lite2", True), ("inception", False), ("dinov2", False)):
        two = [few(measure), with_fields(few(measure), {"evaluation.metrics_px": 99})]
        for stage in MEASURING:
            assert (len({task(stage, asked).key for asked in two}) == 2) == decides, (measure, stage)


def test_lite2_by_its_name_is_the_default():
    assert experiment(evaluation__measure="lite2") == experiment()


def test_an_unknown_measure_is_refused_with_the_nearest_match():
    with pytest.raises(Mistake, match=r"unknown measure 'incepton'. Did you mean 'inception'\? Choices: dinov2, "):
        experiment(evaluation__measure="incepton")


def test_missing_weights_are_told_in_a_line(tmp_path, monkeypatch, capsys, store):
    monkeypatch.setenv(weight_files.FOLDER_VARIABLE, str(tmp_path / "weights"))
    asked = few("inception", seed=0)
    elsewhere = Store(tmp_path / "runs")
    assert run(elsewhere, asked, "reference")["reference"] == "failed"
    message = capsys.readouterr().err.strip()
    assert "\n" not in message
    assert f"the weights of {inception.title} are missing: no {INCEPTION.names[0]}" in message
    assert not (task("reference", asked).run_in(elsewhere).folder / "error.txt").exists()


# Names

VAL = ("val/n01751748/ILSVRC2012_val_00000001.JPEG", "val/n09193705/ILSVRC2012_val_00000002.JPEG")


def name_of(
    metric: str, n: int = 50_000, reference_images: int = 1_281_167, names: tuple[str, ...] = VAL, **fields: object
) -> str:
    """How a metric over so many images is called."""
    module = plugins.load("harness.evaluation.metrics", metric, "metric")
    paired = not {"samples", "guided"} & set(module.splits)
    asked = experiment("mactok", **PAPER | fields)
    reference = n if paired else reference_images
    m = SimpleNamespace(experiment=asked, paired=paired, reference_images=reference, names=names)
    return metrics.title(metric, metrics.protocol_of(m, module, n))


PUBLISHED = {
    "rfd": "rFID",
    "rfd_infinity": "rFID∞",
    "kid": "rKD (Inception)",
    "gfd": "gFID",
    "gfd_infinity": "gFID∞",
    "gkid": "gKD (Inception)",
    "classifier_score": "IS",
    "precision": "precision",
    "recall": "recall",
}
OF_LITE2 = {
    "rfd": "rFD",
    "rfd_infinity": "rFD∞",
    "kid": "rKD",
    "gfd": "gFD",
    "gfd_infinity": "gFD∞",
    "gkid": "gKD",
    "classifier_score": "Lite2 score",
    "precision": "precision",
    "recall": "recall",
}


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of these tests stands for the published weights of every network."""
    for module in (inception, dinov2):
        monkeypatch.setattr(module, "weights_file", lambda given=None: Path(__file__))
        known = replace(module.WEIGHTS, sha256=short_checksum(Path(__file__)))
        monkeypatch.setattr(module, "WEIGHTS", known)


def test_numbers_by_other_weights_are_called_by_them(monkeypatch):
    for module in (inception, dinov2):
        monkeypatch.setattr(module, "weights_file", lambda given=None: Path(__file__))
    digits = short_checksum(Path(__file__))[:6]
    for measure, network in (("inception", "Inception"), ("dinov2", "DINOv2")):
        found = {metric: name_of(metric, evaluation__measure=measure) for metric in SEES}
        assert all(name.endswith(f" ({network}, other weights {digits})") for name in found.values())
        assert not any(word in name for name in found.values() for word in ("FID", "IS"))
    assert name_of("psnr") == "PSNR"


@pytest.mark.usefixtures("published")
def test_numbers_of_the_published_protocols_are_called_as_published():
    assert {metric: name_of(metric) for metric in SEES} == PUBLISHED
    assert name_of("gfd", data__image_size=512) == "gFID"


@pytest.mark.parametrize(
    ("facts", "network"),
    [
        ({"n": 49_999}, "Inception"),
        ({"n": 10_000}, "Inception"),
        ({"data__crop": "resize_bicubic"}, "Inception"),
        ({"data__image_size": 128}, "Inception"),
        ({"evaluation__measure": "dinov2"}, "DINOv2"),
    ],
)
@pytest.mark.usefixtures("published")
def test_numbers_of_no_published_protocol_are_called_by_their_network(facts, network):
    found = {metric: name_of(metric, **facts) for metric in SEES}
    assert all(name.endswith(f" ({network})") for name in found.values())
    assert not any(word in name for name in found.values() for word in ("FID", "IS"))
    assert found["rfd"] == f"rFD ({network})"
    assert found["classifier_score"] == f"classifier score ({network})"


@pytest.mark.parametrize("names", [(), ("00001.png",), (*VAL, "ILSVRC2012_val_1.JPEG")], ids=str)
@pytest.mark.usefixtures("published")
def test_only_imagenets_validation_set_has_an_rfid(names):
    assert name_of("rfd", names=names) == "rFD (Inception)"


@pytest.mark.usefixtures("published")
def test_a_part_of_the_training_set_is_no_reference_of_fid():
    assert name_of("gfd", reference_images=50_000) == "gFD (Inception)"


@pytest.mark.usefixtures("published")
def test_lite2_and_what_no_network_sees_keep_their_names():
    assert {metric: name_of(metric, evaluation__measure="lite2") for metric in SEES} == OF_LITE2
    assert name_of("psnr") == name_of("psnr", n=10) == "PSNR"


@pytest.mark.usefixtures("published")
def test_every_protocol_that_is_met_can_be_met_and_the_id_is_called_by_it():
    asked = experiment("mactok", **PAPER)
    features = torch.from_numpy(np.random.default_rng(0).normal(size=(50_000, 4)).astype(np.float32))
    moments = FeatureMoments(1_281_167, torch.zeros(4).double(), torch.eye(4).double())
    m = Generated(Outputs(features, features), TrainingFeatures(features[:30], moments), asked, "samples", "drawn")
    found = {r.metric: r for r in records(m, ["gfd", "classifier_score", "gkid"])}
    named = {metric: r.protocol_id.rpartition("-")[0] for metric, r in found.items()}
    assert named == {"gfd": "adm256", "classifier_score": "adm256", "gkid": "inception"}
    assert "the 1281167 training images" in found["gfd"].protocol
    assert "of the training images 30, evenly spaced" in found["gkid"].protocol


def result_of(protocol_ids: dict[str, str], measure: str = "inception") -> Result:
    """A row and seed with a number of every split and stage `generation`, by these protocols."""
    found = [Record("gfd", 1.0, 9, 0, split, "", protocol_id=named) for split, named in protocol_ids.items()]
    run = SimpleNamespace(state="done", records=lambda: found)
    return Result(Row("a", "mactok"), few(measure), {"generation": run})


def test_a_column_is_called_fid_only_where_all_of_it_is():
    whole, part = ({"samples": f"{name}-12345678"} for name in ("adm256", "inception"))
    of = partial(protocol_of, metric="gfd", split="samples", stage="generation")
    assert of([result_of(whole), result_of(whole)]) == "adm256"
    assert of([result_of(whole), result_of({})]) == "adm256"  # a row that is not done says nothing
    assert of([result_of(whole), result_of(part)]) == of([result_of({})]) == "inception"
    assert of([result_of({}, "lite2")]) == "lite"
    other = {"samples": "inception-other-weights-012345-12345678"}
    assert of([result_of(whole), result_of(other)]) == "inception-other-weights-012345"
    assert tables.headers(["gfd"], [result_of(whole)], "samples", "generation") == {"gfd": "gFID ↓"}
    assert tables.headers(["gfd"], [result_of(part)], "samples", "generation") == {"gfd": "gFD (Inception) ↓"}


def test_a_page_names_the_network_and_calls_nothing_fid(store, tmp_path):
    few = {path.replace("__", "."): _text(value) for path, value in FEW.items()}
    assert few.pop("evaluation.metrics_px")  # Inception has a side of its own: setting this one is refused
    fields = tuple(few.items())
    fields += (("evaluation.measure", "inception"),)
    asked = AblationRequest("table5", study_called("table5"), scale("smoke"), fields=fields, rows=("mactok",))
    write(asked, store, tmp_path)
    page = next(tmp_path.glob("*-*.md")).read_text()
    for name in ("rFD", "rFD∞", "gFD", "rKD", "gKD", "precision", "classifier score"):
        assert f"| {name} (Inception, other weights {short_checksum(file_of(store, 'inception'))[:6]}) " in page
    assert f"measure: {inception.title}" in page
    heads = [line for line in page.splitlines() if line.startswith("| row")]
    assert not any("FID" in head.replace("paper rFID", "").replace("paper gFID", "") for head in heads)
    assert "Lite2" not in page
    assert "metrics_px = " not in page
    assert "evaluation.measure = inception" in page


def _text(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
