"""A finished tokenizer on another data set: its numbers name the data that they are of."""

from __future__ import annotations

import pytest

from harness import ablate, cli
from harness.execution import worker
from harness.experiments.experiment import Experiment
from harness.experiments.study import Row
from harness.planning.task import task
from harness.stages.transfer import METRICS
from harness.store.records import Record
from harness.store.runs import Store
from harness.system.errors import Mistake
from reports.mixtures import mixtures
from reports.provenance import Provenance
from reports.results import load
from tests.conftest import experiment, save_class
from tests.stages.few_images import FEW, run

OTHER = "embedded:objects=2"
HERE = FEW | {"generator__on": False, "finetuning__on": False}
ROW = experiment("kl_vae", **HERE, evaluation__transfer=OTHER)
ON_OTHER = experiment("kl_vae", **HERE, data__argument="objects=2")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("runs"))
    for asked, stages in ((ROW, ("evaluation", "transfer")), (ON_OTHER, ("evaluation",))):
        assert set(run(store, asked, *stages).values()) <= {"done", None}
    return store


def records(store: Store, stage: str, of: Experiment) -> dict[str, Record]:
    found = task(stage, of).run_in(store).records()
    return {r.metric: r for r in found if r.split == "val" and r.metric in METRICS}


def test_every_number_names_the_data_that_it_is_of(store):
    here, there = records(store, "evaluation", ROW), records(store, "transfer", ROW)
    assert set(there) == set(here) == set(METRICS)
    for metric in METRICS:
        assert f"`{OTHER}`" in there[metric].protocol, metric
        assert "objects" not in here[metric].protocol, metric
        assert there[metric].protocol_id != here[metric].protocol_id, metric


def test_a_tokenizer_that_was_trained_there_is_measured_by_the_same_protocols(store):
    there, own = records(store, "transfer", ROW), records(store, "evaluation", ON_OTHER)
    assert {m: r.protocol_id for m, r in own.items()} == {m: r.protocol_id for m, r in there.items()}
    assert {m: r.value for m, r in own.items()} != {m: r.value for m, r in there.items()}


def test_a_page_has_the_facts_of_both_data_sets(store):
    results = load({Row("KL-VAE", "kl_vae"): [ROW]}, store, lambda e: ("evaluation", "transfer"))
    facts = Provenance(results).data_facts()
    own, other = (task("data", e).run_in(store).fact("content") for e in (ROW, ON_OTHER))
    assert f"content `{own}`. Measured also on data set `{OTHER}`" in facts
    assert facts.endswith(f"content `{other}`.")
    assert not any("contents" in told or "data sets" in told for told in mixtures(results))


def test_missing_data_is_a_mistake_before_anything_is_written(tmp_path):
    words = ["transfer", "--scale", "smoke", "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
    with pytest.raises(Mistake, match="nowhere is not there"):
        ablate.main([*words, "--set", f"evaluation.transfer=folder:{tmp_path / 'nowhere'}"])
    with pytest.raises(Mistake, match="unknown data set 'nowhere'"):
        ablate.main([*words, "--set", "evaluation.transfer=nowhere"])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("workers", ["1", "2"])
def test_images_that_do_not_open_are_refused_before_anything_is_trained(workers, tmp_path, capsys):
    for name in ("cats", "dogs"):
        save_class(tmp_path / "zoo" / name, 90)
    (tmp_path / "zoo/cats/03.jpg").write_text("no image")
    words = ["transfer", "--scale", "smoke", "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
    words += ["--set", f"evaluation.transfer=folder:{tmp_path / 'zoo'}", "--quiet", "--workers", workers]
    for more in (["--dry-run"], []):
        assert cli.code_of(ablate.main, [*words, *more]) == 2
        said = capsys.readouterr()
        assert said.out == "" and "does not open: cats/03.jpg" in said.err and said.err.count("\n") == 1
    assert {run.stage for run in Store(tmp_path / "runs").runs()} == {"data"}


def test_images_that_stay_where_they_are_are_those_of_the_other_data_set(tmp_path):
    place = tmp_path / "not here"
    e = experiment("kl_vae", **HERE, evaluation__transfer=f"imagenet:{place}")
    assert e.transferred is not None
    assert worker._data_place(e) is None
    assert worker._data_place(task("transfer", e).inputs["data"].experiment) == place
