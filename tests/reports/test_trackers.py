"""TensorBoard and Weights & Biases get what the store has, once, however often they are written."""

from __future__ import annotations

import json
import math
import os
import struct
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from harness import cli, runs
from harness.experiments.fields import flat
from harness.experiments.requests import AblationRequest
from harness.planning.plan import plan_of
from harness.planning.request_log import remember
from harness.planning.task import Task
from harness.store.records import Record
from harness.store.runs import Run, Store
from harness.system.files import write_json
from reports.trackers.tracked import TrackedRun, tracked_runs
from tests.commands.stores import ENVIRONMENT, MACTOK, request_of
from tests.commands.test_cli import command

STEPS = 5
PAGE = request_of(seeds=2).page


def record(metric: str, value: float, step: int) -> Record:
    return Record(metric, value, 128, step, "val", f"how {metric} is measured", protocol_id=f"lite-{metric}")


RECORDS = {
    "evaluation": [record("rfd", 12.5, 40), record("psnr", 20.25, 40)],
    "snapshots": [record("probe", 30.0, 20), record("probe", 40.0, 40)],
}


def begun(task: Task, store: Store) -> Run:
    run = task.run_in(store)
    run.begin(task.identity, ENVIRONMENT)
    write_json(run.folder / "experiment.json", flat(task.experiment))
    return run


def trained(run: Run, seed: int, first: int, last: int) -> None:
    for step in range(first, last):
        run.curves.log(step, {"train/loss": 1 / (1 + step + seed)})
        run.curves.log(step, {"val/kl": step + seed / 4} if step else {})


@pytest.fixture
def request_made() -> AblationRequest:
    return request_of(MACTOK, seeds=2)


@pytest.fixture
def store(tmp_path: Path, request_made: AblationRequest) -> Store:
    """Two seeds of a row: all of the first one is done, the tokenizer of the second one runs."""
    store = Store(tmp_path / "runs")
    remember(request_made, store)
    for task in plan_of(request_made).tasks:
        seed = task.experiment.seed
        if seed and task.stage != "tokenizer":
            continue
        run = begun(task, store)
        if task.stage == "tokenizer":
            trained(run, seed, 0, STEPS)
        if not seed:
            run.finish(RECORDS.get(task.stage, []), {})
    return store


def tokenizer(store: Store, request: AblationRequest) -> Run:
    """The run that is not done."""
    (task,) = (t for t in plan_of(request).tasks if t.stage == "tokenizer" and t.experiment.seed)
    return task.run_in(store)


def go_on(store: Store, request: AblationRequest) -> None:
    """The tokenizer of the second seed comes to its end."""
    run = tokenizer(store, request)
    trained(run, 1, STEPS, 2 * STEPS)
    run.finish([], {})


def tracked(store: Store, request: AblationRequest) -> dict[int, TrackedRun]:
    return {run.result.experiment.seed: run for run in tracked_runs(plan_of(request), store)}


def shown(run: TrackedRun) -> dict[str, list[tuple[int, float]]]:
    """All values by tag, in order."""
    found: dict[str, list[tuple[int, float]]] = {}
    for points in run.curves.values():
        for step, values in points:
            for tag, value in values.items():
                found.setdefault(tag, []).append((step, value))
    return found


def test_curves_and_numbers_are_those_of_the_store(store, request_made):
    found = tracked(store, request_made)
    assert {seed: run.name for seed, run in found.items()} == {
        seed: f"+ global alignment, seed {seed}" for seed in range(2)
    }
    done, running = shown(found[0]), shown(found[1])
    assert done["tokenizer/val/kl"] == [(step, float(step)) for step in range(1, STEPS)]
    assert [step for step, _ in done["tokenizer/train/loss"]] == list(range(STEPS))
    assert done["snapshots/val/probe"] == [(20, 30.0), (40, 40.0)]
    assert running["tokenizer/val/kl"] == [(step, step + 0.25) for step in range(1, STEPS - 1)]  # more of it may come
    assert {tag: r.value for tag, r in found[0].numbers.items()} == {
        "final/evaluation/val/rfd": 12.5,
        "final/evaluation/val/psnr": 20.25,
    }
    assert found[0].fields["seed"] == 0 and found[1].fields["seed"] == 1
    assert len({run.id for run in found.values()}) == 2
    go_on(store, request_made)
    later = tracked(store, request_made)
    assert [later[seed].id == found[seed].id for seed in range(2)] == [True, True]
    assert [later[seed].content == found[seed].content for seed in range(2)] == [True, False]
    assert len(shown(later[1])["tokenizer/val/kl"]) == 2 * STEPS - 1


# The command


def write(store: Store, *words: object) -> int:
    return runs.main(["table5", "--runs", str(store.root), *map(str, words)])


@pytest.mark.parametrize(("name", "where"), [("tensorboard", "events"), ("wandb", "project")])
def test_a_package_that_is_not_installed_is_one_line(name, where, store, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.chdir(tmp_path)
    assert cli.code_of(runs.main, ["table5", "--runs", str(store.root), f"--{name}", where]) == 2
    out, errors = capsys.readouterr()
    assert out == "" and errors.count("\n") == 1
    assert errors.endswith(f'is not installed: pip install -e ".[{name}]"\n')
    assert {path.name for path in tmp_path.iterdir()} == {"runs"}


@pytest.mark.parametrize(
    ("words", "said"),
    {
        ("--tensorboard", "events"): f"take a study or a page: {PAGE}",
        ("table5", "--wandb", " "): "--wandb names no project",
        ("table5", "--tensorboard", "file"): "file is not a folder",
        ("tabel5", "--tensorboard", "events"): "Did you mean 'table5'",
    }.items(),
)
def test_a_mistake_writes_nothing(words, said, store, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    assert cli.code_of(runs.main, [*words, "--runs", str(store.root)]) == 2
    assert said in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"runs", "file"}


# TensorBoard


def scalars(reader: Any) -> dict[str, list[tuple[int, float]]]:
    reader.Reload()
    tags = reader.PluginTagToContent("scalars")
    return {tag: [(e.step, *e.tensor_proto.float_val) for e in reader.Tensors(tag)] for tag in tags}


def same(read: dict[str, list[tuple[int, float]]], run: TrackedRun) -> bool:
    """Whether a reader has exactly the values of a run, as float32."""
    expected = shown(run) | {tag: [(r.step, r.value)] for tag, r in run.numbers.items()}
    return set(read) == set(expected) and all(
        [step for step, _ in read[tag]] == [step for step, _ in values]
        and all(math.isclose(a, b, rel_tol=1e-6) for (_, a), (_, b) in zip(read[tag], values, strict=True))
        for tag, values in expected.items()
    )


def test_events_are_read_back_and_written_again_only_where_they_changed(store, request_made, tmp_path, capsys):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    def files() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in (tmp_path / "events").rglob("*") if path.is_file()}

    assert write(store, "--tensorboard", tmp_path / "events") == 0
    assert "2 rows and seeds, 2 of them new or changed" in capsys.readouterr().out
    first, before = files(), tracked(store, request_made)
    readers = {
        seed: EventAccumulator(str(tmp_path / "events" / request_made.page / run.name)) for seed, run in before.items()
    }
    assert all(same(scalars(readers[seed]), run) for seed, run in before.items())
    about = readers[0].SummaryMetadata("final/evaluation/val/rfd")
    assert about.summary_description == "how rfd is measured"
    (text,) = readers[0].Tensors("numbers")
    assert (
        b"| final/evaluation/val/psnr | 20.25 | 128 | lite-psnr | how psnr is measured |"
        in text.tensor_proto.string_val[0]
    )
    content = readers[0].SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    stored = HParamsPluginData.FromString(content).session_start_info.hparams
    assert set(stored) == set(before[0].fields)
    assert stored["training.steps"].number_value == before[0].result.experiment.training.steps
    assert stored["data.name"].string_value == "embedded" and stored["generator.on"].bool_value
    assert write(store, "--tensorboard", tmp_path / "events") == 0
    assert "0 of them new or changed" in capsys.readouterr().out and files() == first

    go_on(store, request_made)
    assert write(store, "--tensorboard", tmp_path / "events") == 0
    assert "1 of them new or changed" in capsys.readouterr().out
    assert set(first) < set(files()) and len(files()) == 1 + len(first) == 3
    after = tracked(store, request_made)
    assert all(same(scalars(readers[seed]), run) for seed, run in after.items())  # which have read the earlier files
    folder = tmp_path / "events" / request_made.page / after[1].name
    assert same(scalars(EventAccumulator(str(folder))), after[1])
    tokenizer(store, request_made).set_state("failed", "disk full")
    assert write(store, "--tensorboard", tmp_path / "events") == 0
    assert len(files()) == 3 and set(files()) & set(first) < set(first)  # not all that ever was
    failed = tracked(store, request_made)[1]
    assert failed.result.state == "tokenizer failed: disk full"
    assert all(same(scalars(reader), failed) for reader in (readers[1], EventAccumulator(str(folder))))


# Weights & Biases


class Service:
    """Stands for the package and its server: a resumed run has its summary, its history only grows."""

    def __init__(self) -> None:
        self.runs: dict[str, SimpleNamespace] = {}
        self.module: Any = ModuleType("wandb")
        self.module.init, self.module.Settings = self.init, SimpleNamespace
        self.module.errors = SimpleNamespace(Error=OSError)

    def init(self, id: str, config: dict[str, Any], resume: str, settings: SimpleNamespace, **names: str) -> Any:
        assert resume == "allow" and settings.silent
        known = self.runs.setdefault(id, SimpleNamespace(history=[], summary={}, config=config, names=names, axes={}))
        assert known.config == config and known.names == names
        return self.Run(known)

    class Run:
        offline = False

        def __init__(self, known: SimpleNamespace):
            self.known, self.summary = known, known.summary

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def define_metric(self, name: str, **options: Any) -> None:
            self.known.axes[name] = options

        def log(self, values: dict[str, float]) -> None:
            self.known.history.append(values)
            self.summary.update(values)


def logged(history: list[dict[str, float]]) -> dict[str, list[tuple[int, float]]]:
    """The values of a history by tag, with their steps."""
    found: dict[str, list[tuple[int, float]]] = {}
    for values in history:
        ((axis, step),) = ((name, value) for name, value in values.items() if name.endswith("/step"))
        for tag, value in values.items():
            if tag != axis:
                assert tag.partition("/")[0] == axis.partition("/")[0]
                found.setdefault(tag, []).append((int(step), value))
    return found


def test_a_project_gets_every_point_once(store, request_made, monkeypatch):
    service = Service()
    monkeypatch.setitem(sys.modules, "wandb", service.module)
    for step in range(4):
        if step == 2:
            go_on(store, request_made)
        assert write(store, "--wandb", "project") == 0
        for run in tracked(store, request_made).values():
            known = service.runs[run.id]
            assert logged(known.history) == shown(run)
            assert known.summary["state"] == run.result.state
            assert all(known.summary[tag]["value"] == r.value for tag, r in run.numbers.items())
            assert all(known.summary[tag]["protocol"] == r.protocol_id for tag, r in run.numbers.items())
            assert known.names == {"project": "project", "group": request_made.page, "name": run.name}
            assert known.config == {"page": request_made.page, "row": run.result.row.name, **run.fields}
            assert known.axes["tokenizer/*"] == {"step_metric": "tokenizer/step"}
    assert len(service.runs) == 2


def test_a_refusal_is_one_line(store, monkeypatch, capsys):
    service = Service()

    def refuse(**_: object) -> None:
        raise service.module.errors.Error("No API key configured.\nUse `wandb login`")

    service.module.init = refuse
    monkeypatch.setitem(sys.modules, "wandb", service.module)
    assert cli.code_of(runs.main, ["table5", "--runs", str(store.root), "--wandb", "project"]) == 1
    assert capsys.readouterr().err == "error: Weights & Biases: No API key configured. Use `wandb login`\n"


def records_of(path: Path) -> list[Any]:
    """The records of a file of the package: 7 bytes, then blocks of 32 KiB with pieces after 7 bytes each."""
    from wandb.proto.wandb_internal_pb2 import Record as Stored

    content, place, pieces, found = path.read_bytes(), 7, b"", []
    while place < len(content):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        size, kind = struct.unpack("<HB", content[place + 4 : place + 7])
        pieces += content[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # whole, or the last piece
            found.append(Stored.FromString(pieces))
            pieces = b""
    return found


def test_offline_the_package_keeps_the_same(store, request_made, tmp_path):
    pytest.importorskip("wandb", reason="the extra wandb is not installed")
    words = ["harness.runs", "table5", "--runs", str(store.root), "--wandb", "project"]
    for _ in range(2):
        done = command(*words, env={**os.environ, "WANDB_MODE": "offline", "WANDB_DIR": str(tmp_path)})
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"{request_made.page}: 2 rows and seeds logged to the project project\n"
    files = {path.stem.removeprefix("run-"): path for path in tmp_path.glob("wandb/offline-run-*/*.wandb")}
    expected = {run.id: run for run in tracked(store, request_made).values()}
    assert set(files) == set(expected) and len(list(tmp_path.glob("wandb/offline-run-*"))) == 2
    for name, run in expected.items():
        found = records_of(files[name])
        lines = [{i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in r.history.item} for r in found]
        history = [{k: v for k, v in line.items() if not k.startswith("_")} for line in lines if line]
        assert logged(history) == shown(run)
        (made,) = (r.run for r in found if r.HasField("run"))
        assert (made.project, made.run_group, made.display_name) == ("project", request_made.page, run.name)
        summary = {i.key or "/".join(i.nested_key): i.value_json for r in found for i in r.summary.update}
        assert all(json.loads(summary[tag])["value"] == r.value for tag, r in run.numbers.items())
