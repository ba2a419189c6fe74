"""The command `prune` removes the runs that no remembered request wants."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import cli, prune
from harness.execution import jobs
from harness.execution.executors import local, slurm
from harness.experiments.requests import new_request
from harness.experiments.scales import scale
from harness.planning.plan import plan_of
from harness.planning.request_log import remember, remembered_requests
from harness.planning.task import task
from harness.store.runs import Run, Store
from harness.system import plugins
from harness.system.errors import Mistake, Trouble
from tests.commands.stores import FOIL, filled, keys, request_of, states
from tests.commands.test_cli import command
from tests.system.test_plugins import EXAMPLES, METRICS, found


@pytest.fixture
def queue(monkeypatch) -> dict[str, str]:
    """The queue of a Slurm."""
    waiting: dict[str, str] = {}
    monkeypatch.setattr(slurm, "queue", lambda jobs: {job.id: waiting[job.id] for job in jobs if job.id in waiting})
    return waiting


def test_only_what_no_request_wants_is_removed(tmp_path, capsys):
    store = filled(tmp_path, request_of())
    filled(tmp_path, request_of(FOIL), remembering=False)
    loose = plan_of(request_of(FOIL)).tasks[-1].run_in(store)
    loose.set_state("failed", "disk full")  # any state
    (tmp_path / "tokenizer/notes").mkdir()
    (tmp_path / "tokenizer/notes/config.json").write_text("whatever somebody keeps here")
    wanted = keys(request_of())
    assert prune.main(["--runs", str(tmp_path), "--yes"]) == 0
    assert set(states(store)) == {*wanted, "tokenizer/notes"}
    assert all(run.state == "done" for run in store.runs() if run.key != "notes")
    assert loose.key in capsys.readouterr().out
    assert prune.main(["--runs", str(tmp_path), "--yes"]) == 0
    assert "All runs are wanted" in capsys.readouterr().out


ANSWERS = {"y\n": True, "yes\n": True, "Y\n": True, "n\n": False, "\n": False, "": False, "yess\n": False}


@pytest.mark.parametrize("text", ANSWERS)
def test_nothing_is_removed_without_a_yes(text, tmp_path, capsys, answer):
    store = filled(tmp_path, request_of(), request_of(FOIL))
    page, before = request_of(FOIL).page, states(store)
    answer(text)
    assert prune.main(["--runs", str(tmp_path), "--forget", page]) == 0
    out = capsys.readouterr().out
    gone = keys(request_of(FOIL)) - keys(request_of())
    assert f"Forget {page}, remove {len(gone)} runs, 0.00 GiB? [y/N]" in out
    assert request_of(FOIL).command in out
    assert set(states(store)) == (set(before) - gone if ANSWERS[text] else set(before))
    assert len(remembered_requests(store)) == (1 if ANSWERS[text] else 2)


def test_where_nobody_can_be_asked_nothing_is_removed(tmp_path):
    store = filled(tmp_path, request_of(), request_of(FOIL))
    before = states(store)
    words = ["harness.prune", "--runs", str(tmp_path), "--forget", request_of(FOIL).page]
    done = command(*words, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    assert "there is no terminal to ask the question; --yes answers it" in done.stdout
    assert states(store) == before
    assert len(remembered_requests(store)) == 2


def test_a_store_from_before_requests_were_remembered_is_left_alone(tmp_path):
    store = filled(tmp_path, request_of(), remembering=False)
    with pytest.raises(Mistake, match="remembers no request"):
        prune.main(["--runs", str(tmp_path), "--yes"])
    assert set(states(store)) == keys(request_of())


def emptied(requests: Path) -> None:
    for path in requests.iterdir():
        path.unlink()


def a_file(requests: Path) -> None:
    shutil.rmtree(requests)
    requests.write_text("")


def a_loop(requests: Path) -> None:
    shutil.rmtree(requests)
    requests.symlink_to(requests)


@pytest.mark.parametrize(("damage", "code"), [(emptied, 2), (a_file, 1), (a_loop, 1), (shutil.rmtree, 2)])
def test_what_cannot_be_read_is_not_unwanted(damage, code, tmp_path, monkeypatch, capsys):
    store = filled(tmp_path, request_of())
    damage(tmp_path / "asked")
    monkeypatch.setattr(sys, "argv", ["prune", "--runs", str(tmp_path), "--yes"])
    with pytest.raises(SystemExit) as ended:
        cli.run(prune.main)
    assert ended.value.code == code
    assert capsys.readouterr().err.count("\n") == 1
    assert set(states(store)) == keys(request_of())


def test_what_is_asked_while_the_question_stands_stays(tmp_path, monkeypatch):
    store = filled(tmp_path, request_of())
    filled(tmp_path, request_of(FOIL), remembering=False)
    monkeypatch.setattr(cli, "agreed", lambda _: remember(request_of(FOIL), store) or True)
    assert prune.main(["--runs", str(tmp_path)]) == 0
    assert set(states(store)) == keys(request_of()) | keys(request_of(FOIL))


def loose_store(root: Path) -> tuple[Store, Run, set[str]]:
    """A store with a remembered row, another row that is not, its tokenizer, and what that alone rests on."""
    store = filled(root, request_of())
    filled(root, request_of(FOIL, fields=(("data.train_images", "100"),)), remembering=False)
    task = next(
        t for t in plan_of(request_of(FOIL, fields=(("data.train_images", "100"),))).tasks if t.stage == "tokenizer"
    )
    return store, task.run_in(store), {f"{s}/{run.key}" for s, run in store.lineage(task.run_in(store)).items()}


HOLDER = """
import sys
import time
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
        assert set(states(store)) == keys(request_of()) | rests_on
        assert f"{len(rests_on)} runs that no request wants stay" in capsys.readouterr().out
    assert prune.main(["--runs", str(tmp_path), "--yes"]) == 0
    assert set(states(store)) == keys(request_of())


def test_a_run_that_got_locked_meanwhile_stays(tmp_path, monkeypatch):
    store, run, _ = loose_store(tmp_path)
    monkeypatch.setattr(prune, "busy_runs", lambda _: set())
    with held(run):
        assert prune.main(["--runs", str(tmp_path), "--yes"]) == 0
    assert set(states(store)) == keys(request_of()) | {f"{run.stage}/{run.key}"}


def test_a_run_in_a_queue_stays_with_all_that_it_rests_on(tmp_path, queue):
    store, run, rests_on = loose_store(tmp_path)
    jobs.record(run, "slurm", "12_3", tmp_path / "jobs/20260101-000000-1/12_3_0_log.out")
    run.set_state("stopped")
    queue["12_3"] = "PENDING"
    assert prune.main(["--runs", str(tmp_path), "--yes"]) == 0
    assert set(states(store)) == keys(request_of()) | rests_on
    queue.clear()
    assert prune.main(["--runs", str(tmp_path), "--yes"]) == 0
    assert set(states(store)) == keys(request_of())


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
    store = filled(tmp_path, request_of())
    pid = os.getpid() if busy == "command" else 1 << 30
    code, used, unused = (
        tmp_path / name
        for name in (f"code/{'a' * 16}", f"jobs/20260101-000000-{1 << 29}", f"jobs/20260101-000000-{pid}")
    )
    for folder in (code, used, unused):
        folder.mkdir(parents=True)
        (folder / "something").write_text("x")
    run = plan_of(request_of()).tasks[-1].run_in(store)
    jobs.record(run, "slurm", "12", used / "12_0_log.out")
    if busy == "queue":
        run.set_state("stopped")
        queue["12"] = "RUNNING"
    assert prune.main(["--runs", str(tmp_path), "--yes"]) == 0
    assert used.exists()
    assert code.exists() == (busy != "nothing")
    assert unused.exists() == (busy == "command")
    assert set(states(store)) == keys(request_of())


def test_local_jobs_that_ended_are_in_no_queue(tmp_path):
    store, run, _ = loose_store(tmp_path)
    jobs.record(run, "local", str(1 << 30), tmp_path / "jobs/20260101-000000-1/1_0_log.out")
    run.set_state("stopped")
    assert not local.queue([jobs.submitted(run)])
    assert prune.main(["--runs", str(tmp_path), "--yes"]) == 0
    assert set(states(store)) == keys(request_of())


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
    assert set(states(store)) == keys(request_of())


def test_what_killed_writers_left_is_swept_after_a_day(tmp_path):
    store, _, _ = loose_store(tmp_path)
    assert prune.main(["--runs", str(tmp_path), "--yes"]) == 0
    kept = set(states(store))
    old, young = tmp_path / "asked/.page.json.123", tmp_path / "asked/.page.json.456"
    features = tmp_path / "features/.abc123"
    features.mkdir(parents=True)
    (features / "features.npy").write_bytes(bytes(10))
    lock = tmp_path / "asked/.page.lock"
    for path in (old, young, lock):
        path.write_text("half")
    for path in (old, features, lock):
        os.utime(path, (time.time() - 2 * 24 * 3600,) * 2)
    assert prune.main(["--runs", str(tmp_path), "--yes"]) == 0
    assert (old.exists(), features.exists(), young.exists(), lock.exists()) == (False, False, True, True)
    assert set(states(store)) == kept


def forgotten() -> None:
    """Makes the process one that was given no plug-ins."""
    os.environ[plugins.VARIABLE] = ""
    plugins.USERS.clear()
    plugins.SEEN.clear()
    plugins.names.cache_clear()
    task.cache_clear()


def test_without_their_plug_ins_the_numbers_that_a_request_wants_stay(tmp_path, capsys):
    found(METRICS)
    store, wanted = filled(tmp_path, request_of()), keys(request_of())
    (measured,) = (name for name in wanted if name.startswith("plugin_metrics/"))
    filled(tmp_path, request_of(FOIL), remembering=False)  # its numbers by the metric are wanted by no request
    forgotten()
    assert measured not in keys(request_of())
    assert prune.main(["--runs", str(tmp_path), "--yes"]) == 0
    assert set(states(store)) == wanted
    line = f"{request_of().page} was made with plug-ins that are not given: --plugins {METRICS}: its numbers"
    assert capsys.readouterr().out.count(line) == 1
    assert prune.main(["--runs", str(tmp_path), "--yes", "--plugins", str(METRICS)]) == 0
    assert set(states(store)) == wanted and "plug-ins" not in capsys.readouterr().out
    forgotten()
    remember(request_of(), store)  # the same page, now without the metric
    assert prune.main(["--runs", str(tmp_path), "--yes"]) == 0
    assert set(states(store)) == wanted - {measured}


def test_a_study_that_is_a_plug_in_that_is_not_given_keeps_everything(tmp_path):
    found(EXAMPLES)
    request = new_request("mask_kinds", scale("smoke"))
    store, wanted = filled(tmp_path, request), keys(request)
    forgotten()
    with pytest.raises(Mistake, match=rf"mask_kinds-smoke are unknown: .*not given: --plugins {EXAMPLES}\. Nothing is"):
        prune.main(["--runs", str(tmp_path), "--yes"])
    assert set(states(store)) == wanted
