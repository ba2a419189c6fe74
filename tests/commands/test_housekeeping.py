"""What was asked is remembered; runs, prune and compare go by it."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import __main__ as listed
from harness import ablate, cli, compare, prune, runs
from harness.execution import jobs
from harness.execution.executors import inline, local, slurm
from harness.experiments.fields import differences, flat
from harness.experiments.requests import AblationRequest
from harness.experiments.scales import scale
from harness.planning.plan import plan_of
from harness.planning.request_log import remember, remembered_requests
from harness.planning.task import Task, experiment_of
from harness.store.records import Record
from harness.store.runs import Run, Store
from harness.store.usage import age, usage
from harness.system import plugins
from harness.system.errors import Mistake, Trouble
from harness.system.files import read_json, write_json
from reports.ablation import page as ablation
from tests.commands.test_cli import command

ENVIRONMENT = {
    "device": "cpu",
    "dtype": "float32",
    "threads": 2,
    "world_size": 1,
    "scale": "smoke",
    "commit": "0123456789abcdef",
    "uncommitted": "",
    "versions": {"torch": "2.6.0", "numpy": "2.0.0"},
}
RECORDS = [Record("psnr", 21.256, 128, 40, "val", "8-bit RGB"), Record("kid", 0.5, 128, 40, "val", "", 0.25)]
MACTOK, FOIL = ("mactok",), ("KL-VAE",)
SIZE = 3 * 2**20


def asked_of(rows: tuple[str, ...] = MACTOK, **options: object) -> AblationRequest:
    return AblationRequest(
        "table5", plugins.load("ablations", "table5", "study").study, scale("smoke"), rows=rows, **options
    )


def make(task: Task, store: Store, records: list[Record] | None = None, **environment: object) -> Run:
    """A finished run without work."""
    run = task.run_in(store)
    run.begin(task.identity, ENVIRONMENT | environment)
    write_json(run.folder / "experiment.json", flat(task.experiment))
    (run.folder / "weights.bin").write_bytes(bytes(SIZE if task.stage == "tokenizer" else 10))
    run.finish(records or [], {"units": 1})
    return run


def filled(root: Path, *requests: AblationRequest, remembering: bool = True) -> Store:
    """A store with all that was asked."""
    store = Store(root)
    for asked in requests:
        for task in plan_of(asked).tasks:
            make(task, store)
        if remembering:
            remember(asked, store)
    return store


def states(store: Store) -> dict[str, str]:
    return {f"{run.stage}/{run.key}": run.state for run in store.runs()}


def keys(asked: AblationRequest) -> set[str]:
    return {f"{task.stage}/{task.key}" for task in plan_of(asked).tasks}


@pytest.fixture
def answer(monkeypatch):
    """Somebody at the terminal, who answers so."""

    def sit_down(text: str) -> None:
        terminal = io.StringIO(text)
        terminal.isatty = lambda: True
        monkeypatch.setattr(sys, "stdin", terminal)

    return sit_down


@pytest.fixture
def queue(monkeypatch) -> dict[str, str]:
    """The queue of a Slurm."""
    waiting: dict[str, str] = {}
    monkeypatch.setattr(slurm, "queue", lambda jobs: {job.id: waiting[job.id] for job in jobs if job.id in waiting})
    return waiting


# Commands


def test_every_command_is_listed_and_helps_at_once():
    places = Path(listed.__file__).parent.glob("*.py")
    commands = {f"harness.{path.stem}" for path in places if "cli.run(main)" in path.read_text()} - {"harness.__main__"}
    assert {words.split()[0] for words in listed.COMMANDS} == commands
    started = [subprocess.Popen([sys.executable, "-m", name, "--help"], stdout=-1, text=True) for name in commands]
    for process in started:
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0, process.args
        assert out.startswith("usage: python -m harness.")


@pytest.mark.parametrize("words", [["harness.runs"], ["harness.prune"], ["harness.compare", "0", "1"]])
def test_questions_about_the_store_are_answered_without_torch(words, tmp_path):
    store = filled(tmp_path, asked_of())
    make(dataclasses.replace(plan_of(asked_of()).tasks[0], key="1" * 16), store)
    make(dataclasses.replace(plan_of(asked_of()).tasks[0], key="0" * 16), store)
    words = [w.replace("0", "0" * 16).replace("1", "1" * 16) for w in words]
    done = command(*words, "--runs", str(tmp_path), env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"})
    assert done.returncode == 0, done.stderr[-1000:]
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert not imported & {"torch", "timm", "matplotlib", "pandas", "sklearn", "torch_fidelity"}


# What was asked


REQUESTS = {
    "table5-smoke": {"rows": ()},
    "table5-smoke-2e8e1d": {},
    "table5-smoke-embedded": {"data": "embedded"},
    "fields": {"fields": (("masking.max_ratio", "0.5"), ("training.steps", "50"))},
    "quoted": {"rows": ("+ random mask", "KL-VAE")},
}


@pytest.mark.parametrize("options", REQUESTS.values(), ids=REQUESTS)
def test_what_was_asked_comes_back(options, tmp_path):
    store, asked = Store(tmp_path), asked_of(**options)
    remember(asked, store)
    (found,) = remembered_requests(store)
    assert found.plan is not None
    assert found.plan.request == asked
    assert (found.page, found.study, found.command) == (asked.page, "table5", asked.command)
    assert abs(found.at - time.time()) < 60


def test_of_the_same_with_several_seeds_the_most_are_remembered(tmp_path):
    store = Store(tmp_path)
    for seeds, most in ((1, 1), (3, 3), (2, 3)):
        remember(asked_of(seeds=seeds), store)
        (found,) = remembered_requests(store)
        assert found.plan.request.seeds == most
        assert ("--seeds 3" in found.command) == (most == 3)


def change(path: Path, **content: object) -> None:
    write_json(path, {**read_json(path), **content})


TROUBLE = {
    "damaged": (lambda path: path.write_text(path.read_text()[:-9]), "is damaged"),
    "other": (lambda path: write_json(path, ["table5"]), "is damaged"),
    "study": (lambda path: change(path, study="table55"), "unknown study"),
    "scale": (lambda path: change(path, scale="tinny"), "unknown scale"),
    "row": (lambda path: change(path, rows=["maktok"]), "unknown row"),
    "field": (lambda path: change(path, fields=[["tokens.of", "1"]]), "unknown field"),
    "data": (lambda path: change(path, data="folder:/nowhere"), "is not there"),
}


@pytest.mark.parametrize("case", TROUBLE)
def test_a_request_that_means_nothing_any_more_is_told_and_keeps_prune_from_guessing(case, tmp_path, capsys, answer):
    damage, why = TROUBLE[case]
    store, page = filled(tmp_path, asked_of()), asked_of().page
    damage(tmp_path / f"asked/{page}.json")
    before = states(store)
    assert runs.main(["--runs", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert page in shown.err
    assert why in shown.err
    assert ["no", "study", str(len(before))] in [line.split()[:3] for line in shown.out.splitlines()]
    assert runs.main([page, "--runs", str(tmp_path)]) == 0
    with pytest.raises(Mistake, match=rf"{why}.*--forget {page}"):
        prune.main(["--runs", str(tmp_path), "--yes"])
    assert states(store) == before
    assert prune.main(["--runs", str(tmp_path), "--yes", "--forget", page]) == 0
    assert not states(store)
    assert not remembered_requests(store)


def test_ablate_remembers_before_anything_runs_and_nothing_of_mistakes(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(inline, "execute", lambda *_: seen.extend(remembered_requests(Store(tmp_path / "runs"))))
    monkeypatch.setattr(ablation, "write", lambda *_: "page")
    words = ["table5", "--scale", "smoke", "--rows", "mactok", "--runs", str(tmp_path / "runs")]
    for mistake in (["--data", "folder:nowhere"], ["--set", "tokens=7"], ["--executor", "lokal"], ["--workers", "0"]):
        with pytest.raises(Mistake):
            ablate.main([*words, *mistake])
    ablate.main([*words, "--dry-run"])
    assert not (tmp_path / "runs").exists()
    ablate.main(words)
    assert [request.command for request in seen] == [asked_of().command]


# Runs


def test_an_overview_counts_shared_runs_in_each_and_once_in_the_total(tmp_path, capsys):
    store = filled(tmp_path, asked_of(), asked_of(FOIL))
    remember(asked_of(seeds=2), store)
    strange = make(dataclasses.replace(plan_of(asked_of()).tasks[0], key="f" * 16), store)
    shared = keys(asked_of()) & keys(asked_of(FOIL))
    assert runs.main(["--runs", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    requests = {request["page"]: request for request in found["requests"]}
    assert requests[asked_of().page]["done"] == len(keys(asked_of()))
    assert requests[asked_of().page]["planned"] == len(keys(asked_of(seeds=2)))
    assert (
        requests[asked_of(FOIL).page]["done"] == requests[asked_of(FOIL).page]["planned"] == len(keys(asked_of(FOIL)))
    )
    assert found["no study"]["runs"] == 1
    assert found["no study"]["bytes"] == usage(strange.folder).bytes
    assert found["total"]["runs"] == len(keys(asked_of()) | keys(asked_of(FOIL))) + 1
    assert found["total"]["bytes"] == sum(usage(run.folder).bytes for run in store.runs())
    assert shared
    assert runs.main(["--runs", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "count in each" in text
    assert "no study" in text


@pytest.mark.parametrize("name", ["table5", asked_of().page])
def test_the_runs_of_a_request(name, tmp_path, capsys):
    store = filled(tmp_path, asked_of())
    remember(asked_of(seeds=2), store)
    assert runs.main([name, "--runs", str(tmp_path), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out).values()
    assert {f"{line['stage']}/{line['key']}" for line in found} == keys(asked_of(seeds=2))
    for line in found:
        assert line["rows"] in ("all rows", "+ global alignment seed 0", "+ global alignment seed 1")
        assert line["state"] == store.run(line["stage"], line["key"]).state
        assert (line["bytes"] > 0) == (line["state"] == "done") == (line["written"] is not None)
    assert runs.main([name, "--runs", str(tmp_path)]) == 0
    assert f"{len(keys(asked_of()))} of {len(found)} runs are done" in capsys.readouterr().out


MISTAKES = {
    "no store": (runs, ["--runs", "nowhere"], "no store at nowhere"),
    "no store to prune": (prune, ["--runs", "nowhere"], "no store at nowhere"),
    "study": (runs, ["tabel5"], "Did you mean 'table5'"),
    "forgotten": (prune, ["--forget", "tabel5-smoke"], "Did you mean 'table5-smoke"),
    "option": (prune, ["--ye"], "Did you mean '--yes'"),
    "no run": (compare, ["zz", "yy"], "no run 'zz'"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes(case, tmp_path, monkeypatch):
    filled(tmp_path / "runs", asked_of())
    monkeypatch.chdir(tmp_path)
    module, words, expected = MISTAKES[case]
    with pytest.raises(Mistake, match=expected):
        module.main(words)


def test_an_empty_store_is_no_mistake_and_has_no_studies(tmp_path, capsys):
    assert runs.main(["--runs", str(tmp_path)]) == 0
    with pytest.raises(Mistake, match="remembers no request"):
        runs.main(["table5", "--runs", str(tmp_path)])


AGES = {0: "0 s", 119: "119 s", 121: "2 min", 7199: "120 min", 7201: "2 h", 2 * 86400 + 5: "2 d", 90 * 86400: "90 d"}


@pytest.mark.parametrize("seconds", AGES)
def test_ages(seconds, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 2e9)
    assert age(2e9 - seconds) == AGES[seconds]


# Prune


def test_only_what_no_request_wants_is_removed(tmp_path, capsys):
    store = filled(tmp_path, asked_of())
    filled(tmp_path, asked_of(FOIL), remembering=False)
    loose = plan_of(asked_of(FOIL)).tasks[-1].run_in(store)
    loose.set_state("failed", "disk full")  # any state
    (tmp_path / "tokenizer/notes").mkdir()
    (tmp_path / "tokenizer/notes/config.json").write_text("whatever somebody keeps here")
    wanted = keys(asked_of())
    assert prune.main(["--runs", str(tmp_path), "--yes"]) == 0
    assert set(states(store)) == {*wanted, "tokenizer/notes"}
    assert all(run.state == "done" for run in store.runs() if run.key != "notes")
    assert loose.key in capsys.readouterr().out
    assert prune.main(["--runs", str(tmp_path), "--yes"]) == 0
    assert "All runs are wanted" in capsys.readouterr().out


ANSWERS = {"y\n": True, "yes\n": True, "Y\n": True, "n\n": False, "\n": False, "": False, "yess\n": False}


@pytest.mark.parametrize("text", ANSWERS)
def test_nothing_is_removed_without_a_yes(text, tmp_path, capsys, answer):
    store = filled(tmp_path, asked_of(), asked_of(FOIL))
    page, before = asked_of(FOIL).page, states(store)
    answer(text)
    assert prune.main(["--runs", str(tmp_path), "--forget", page]) == 0
    out = capsys.readouterr().out
    gone = keys(asked_of(FOIL)) - keys(asked_of())
    assert f"Forget {page}, remove {len(gone)} runs, 0.00 GiB? [y/N]" in out
    assert asked_of(FOIL).command in out
    assert set(states(store)) == (set(before) - gone if ANSWERS[text] else set(before))
    assert len(remembered_requests(store)) == (1 if ANSWERS[text] else 2)


def test_where_nobody_can_be_asked_nothing_is_removed(tmp_path):
    store = filled(tmp_path, asked_of(), asked_of(FOIL))
    before = states(store)
    words = ["harness.prune", "--runs", str(tmp_path), "--forget", asked_of(FOIL).page]
    done = command(*words, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    assert "there is no terminal to ask the question; --yes answers it" in done.stdout
    assert states(store) == before
    assert len(remembered_requests(store)) == 2


def test_a_store_from_before_requests_were_remembered_is_left_alone(tmp_path):
    store = filled(tmp_path, asked_of(), remembering=False)
    with pytest.raises(Mistake, match="remembers no request"):
        prune.main(["--runs", str(tmp_path), "--yes"])
    assert set(states(store)) == keys(asked_of())


def test_what_is_asked_while_the_question_stands_stays(tmp_path, monkeypatch):
    store = filled(tmp_path, asked_of())
    filled(tmp_path, asked_of(FOIL), remembering=False)
    monkeypatch.setattr(cli, "agreed", lambda _: remember(asked_of(FOIL), store) or True)
    assert prune.main(["--runs", str(tmp_path)]) == 0
    assert set(states(store)) == keys(asked_of()) | keys(asked_of(FOIL))


def loose_store(root: Path) -> tuple[Store, Run, set[str]]:
    """A store with a remembered row, another row that is not, its tokenizer, and what that alone rests on."""
    store = filled(root, asked_of())
    filled(root, asked_of(FOIL, fields=(("data.train_images", "100"),)), remembering=False)
    task = next(
        t for t in plan_of(asked_of(FOIL, fields=(("data.train_images", "100"),))).tasks if t.stage == "tokenizer"
    )
    return store, task.run_in(store), {f"{s}/{run.key}" for s, run in store.lineage(task.run_in(store)).items()}


HOLDER = """
import sys
from pathlib import Path
from harness.store.runs import Run
with Run(Path(sys.argv[1])).lock:
    print("held", flush=True)
    input()
"""


@contextlib.contextmanager
def held(run: Run) -> Iterator[None]:
    """A process works on the run."""
    words = [sys.executable, "-c", HOLDER, str(run.folder)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield
        process.communicate("\n")


def test_a_locked_run_stays_with_all_that_it_rests_on(tmp_path, capsys):
    store, run, rests_on = loose_store(tmp_path)
    assert len(rests_on) > 1
    with held(run):
        assert prune.main(["--runs", str(tmp_path), "--yes"]) == 0
        assert set(states(store)) == keys(asked_of()) | rests_on
        assert f"{len(rests_on)} runs that no request wants stay" in capsys.readouterr().out
    assert prune.main(["--runs", str(tmp_path), "--yes"]) == 0
    assert set(states(store)) == keys(asked_of())


def test_a_run_that_got_locked_meanwhile_stays(tmp_path, monkeypatch):
    store, run, _ = loose_store(tmp_path)
    monkeypatch.setattr(prune, "busy_runs", lambda _: set())
    with held(run):
        assert prune.main(["--runs", str(tmp_path), "--yes"]) == 0
    assert set(states(store)) == keys(asked_of()) | {f"{run.stage}/{run.key}"}


def test_a_run_in_a_queue_stays_with_all_that_it_rests_on(tmp_path, queue):
    store, run, rests_on = loose_store(tmp_path)
    jobs.record(run, "slurm", "12_3", tmp_path / "jobs/20260101-000000-1/12_3_0_log.out")
    run.set_state("stopped")
    queue["12_3"] = "PENDING"
    assert prune.main(["--runs", str(tmp_path), "--yes"]) == 0
    assert set(states(store)) == keys(asked_of()) | rests_on
    queue.clear()
    assert prune.main(["--runs", str(tmp_path), "--yes"]) == 0
    assert set(states(store)) == keys(asked_of())


def test_while_it_is_not_known_what_a_job_will_read_nothing_is_removed(tmp_path, queue, monkeypatch):
    store, run, _ = loose_store(tmp_path)
    shutil.rmtree(run.folder)
    jobs.record(run, "slurm", "12", tmp_path / "jobs/20260101-000000-1/12_0_log.out")
    before, queue["12"] = states(store), "PENDING"
    with pytest.raises(Mistake, match="waits in a queue"):
        prune.main(["--runs", str(tmp_path), "--yes"])

    def no_answer(_: object) -> dict[str, str]:
        raise Trouble("squeue does not answer")

    monkeypatch.setattr(slurm, "queue", no_answer)
    with pytest.raises(Trouble):
        prune.main(["--runs", str(tmp_path), "--yes"])
    assert states(store) == before
    assert before[f"{run.stage}/{run.key}"] == "waiting"


@pytest.mark.parametrize("busy", ["nothing", "queue", "command"])
def test_copies_of_the_code_and_job_folders(busy, tmp_path, queue):
    """They stay while something may start from them; the log of a run that stays does too."""
    store = filled(tmp_path, asked_of())
    pid = os.getpid() if busy == "command" else 1 << 30
    code, used, unused = (
        tmp_path / name
        for name in (f"code/{'a' * 16}", f"jobs/20260101-000000-{1 << 29}", f"jobs/20260101-000000-{pid}")
    )
    for folder in (code, used, unused):
        folder.mkdir(parents=True)
        (folder / "something").write_text("x")
    run = plan_of(asked_of()).tasks[-1].run_in(store)
    jobs.record(run, "slurm", "12", used / "12_0_log.out")
    if busy == "queue":
        run.set_state("stopped")
        queue["12"] = "RUNNING"
    assert prune.main(["--runs", str(tmp_path), "--yes"]) == 0
    assert used.exists()
    assert code.exists() == (busy != "nothing")
    assert unused.exists() == (busy == "command")
    assert set(states(store)) == keys(asked_of())


def test_local_jobs_that_ended_are_in_no_queue(tmp_path):
    store, run, _ = loose_store(tmp_path)
    jobs.record(run, "local", str(1 << 30), tmp_path / "jobs/20260101-000000-1/1_0_log.out")
    run.set_state("stopped")
    assert not local.queue([jobs.submitted(run)])
    assert prune.main(["--runs", str(tmp_path), "--yes"]) == 0
    assert set(states(store)) == keys(asked_of())


def test_what_a_killed_prune_left_goes_with_the_next(tmp_path, monkeypatch):
    store, _, _ = loose_store(tmp_path)

    def killed(_: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shutil, "rmtree", killed)
        prune.main(["--runs", str(tmp_path), "--yes"])
    (left,) = tmp_path.glob("*/.*.pruned")
    assert f"{left.parent.name}/{left.name[1:17]}" not in states(store)
    assert not any(key.startswith(".") for key in (run.key for run in store.runs()))
    again = left.with_name(left.name[1:17])
    shutil.copytree(left, again)  # made again meanwhile
    assert prune.main(["--runs", str(tmp_path), "--yes"]) == 0
    assert not left.exists()
    assert not again.exists()
    assert set(states(store)) == keys(asked_of())


# Compare


def pair(root: Path, **environment: object) -> tuple[Run, Run]:
    """Two runs of the stage `evaluation`."""
    store, records = Store(root), [dataclasses.replace(r, value=r.value + 1) for r in RECORDS]
    tasks = [plan_of(asked_of(rows)).tasks for rows in (MACTOK, ("mactok_no_global",))]
    a, b = (next(t for t in found if t.stage == "evaluation") for found in tasks)
    return make(a, store, RECORDS), make(b, store, records, **environment)


def test_two_runs_side_by_side(tmp_path, capsys):
    versions = {"torch": "2.7.0", "numpy": "2.0.0"}
    a, b = pair(tmp_path, dtype="bfloat16", uncommitted="+ a line", versions=versions)
    assert compare.main([a.key[:6], b.key[:6], "--runs", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["facts"]) == {"key", "state", "commit", "dtype", "torch"}
    assert found["facts"]["dtype"] == ["float32", "bfloat16"]
    assert found["facts"]["commit"][0] == ENVIRONMENT["commit"][:12]
    assert "with changes" in found["facts"]["commit"][1]
    ours, theirs = (experiment_of(run) for run in (a, b))
    assert list(found["fields"]) == list(differences(ours, theirs))
    assert len(found["fields"]) == 1
    assert [(n["metric"], n["delta"]) for n in found["numbers"]] == [("psnr", 1.0), ("kid", 1.0)]
    assert compare.main([a.key[:6], b.key[:6], "--runs", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    metric = plugins.load("harness.evaluation.metrics", "psnr", "metric")
    for expected in (
        f"{metric.title} ({metric.unit})",
        f"{21.256:.{metric.digits}f}",
        f"{1:+.{metric.digits}f}",
        " ± ",
    ):
        assert expected in text
    assert "No difference is taken" not in text


@pytest.mark.parametrize(("change", "said"), [({"protocol": "other"}, "other protocol"), ({"n": 64}, "other N")])
def test_no_difference_between_numbers_that_mean_something_else(change, said, tmp_path, capsys):
    a, b = pair(tmp_path)
    b.begin(b.config(), ENVIRONMENT)
    b.finish([dataclasses.replace(RECORDS[0], **change), Record("gfd", 3.0, 2, 40, "val", "")], {})
    assert compare.main([a.key, b.key, "--runs", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert said in text
    assert "No difference is taken" in text
    assert "gFD" not in text


def test_the_last_numbers_of_trainings_of_different_lengths_stand_side_by_side(tmp_path):
    a, b = pair(tmp_path)
    recorded = {a: (10, 20, 40), b: (10, 20, 30, 80)}
    for run, steps in recorded.items():
        run.begin(run.config(), ENVIRONMENT)
        run.finish([dataclasses.replace(RECORDS[0], step=step, value=float(step)) for step in steps], {})
    found = compare.numbers(a, b)
    assert [(n["steps"], n["delta"]) for n in found] == [((10, 10), 0), ((20, 20), 0), ((40, 80), 40)]


def test_what_is_not_finished_has_no_numbers_to_compare(tmp_path, capsys):
    a, b = pair(tmp_path)
    b.set_state("failed", "disk full")
    assert compare.main([a.key, b.key, "--runs", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "failed" in text
    assert "no number that both" in text


def test_what_cannot_be_compared(tmp_path):
    a, b = pair(tmp_path)
    filled(tmp_path, asked_of(), remembering=False)
    other = plan_of(asked_of()).tasks[0].key
    for words, expected in (([a.key, other], "nothing to compare"), ([a.key, a.key[:8]], "the same run")):
        with pytest.raises(Mistake, match=expected):
            compare.main([*words, "--runs", str(tmp_path)])
    change(b.folder / "experiment.json", **{"tokenizer.colour": "red"})
    with pytest.raises(Mistake, match="is no longer valid"):
        compare.main([a.key, b.key, "--runs", str(tmp_path)])
    (b.folder / "experiment.json").unlink()
    with pytest.raises(Trouble):
        compare.main([a.key, b.key, "--runs", str(tmp_path)])
