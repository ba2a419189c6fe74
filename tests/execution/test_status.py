"""`harness.status` and `harness.cancel`, on toy runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ablations import table5
from harness.execution import status
from harness.experiments.requests import AblationRequest
from harness.experiments.scales import scale
from harness.planning.plan import plan_of
from harness.store.runs import Run, Store
from harness.system.progress import Progress, progress_of
from tests import toy


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.checkout(tmp_path_factory.mktemp("status") / "checkout")


def command(*words: str, place: Path, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=toy.environment(place),
        **options,
    )


def lines(runs: Path, place: Path) -> dict[tuple[str, int], dict]:
    done = command("harness.status", "--json", "--runs", str(runs), place=place)
    assert done.returncode == 0, done.stderr
    found = {}
    for line in json.loads(done.stdout):
        fields = Run(runs / line["stage"] / line["key"]).experiment()
        found[line["stage"], fields["seed"]] = line
    return found


def start(runs: Path, place: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*toy.COMMAND, "--runs", str(runs), "--quiet", *words],
        env=toy.environment(place),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen[str]) -> int:
    process.communicate(timeout=60)
    return process.returncode


def until(reached) -> None:
    began = time.monotonic()
    while not reached():
        assert time.monotonic() - began < 30
        time.sleep(0.02)


def training(runs: Path) -> Path | None:
    return next(iter(runs.glob("toy_train/*/metrics.csv")), None)


@pytest.mark.parametrize("executor", ["inline", "local"])
def test_what_runs_and_what_was_killed(executor, checkout, tmp_path):
    toy.behave(tmp_path, 0, "sleep 0.2")
    process = start(tmp_path, checkout, "--rows", "1", "--executor", executor)
    until(lambda: training(tmp_path) and training(tmp_path).read_text().count("\n") > 3)
    time.sleep(2.1)  # how far it is is written so often
    line = lines(tmp_path, checkout)["toy_train", 0]
    assert line["state"] == "running"
    assert line["total"] == 30
    assert 0 < line["done"] < 30
    assert 2.5 < line["rate"] <= 5
    assert line["left_seconds"] == pytest.approx((30 - line["done"]) / line["rate"])
    assert "toy" in line["metrics"]
    assert line["job"].startswith("local ") == (executor == "local")
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    state = lines(tmp_path, checkout)["toy_train", 0]["state"]
    assert state == ("running" if executor == "local" else "killed")  # jobs outlive the command that started them
    end(process)  # whose pipes they hold
    toy.behave(tmp_path, 0, "")
    assert end(start(tmp_path, checkout, "--rows", "1", "--executor", executor)) == 0
    line = lines(tmp_path, checkout)["toy_train", 0]
    assert line["state"] == "done"
    assert line["restarts"] == (0 if executor == "local" else 1)


def test_what_failed_says_why(checkout, tmp_path):
    toy.behave(tmp_path, 0, "bug")
    toy.behave(tmp_path, 1, "exit")
    assert end(start(tmp_path, checkout, "--rows", "2", "--executor", "local")) == 1
    found = lines(tmp_path, checkout)
    assert (found["toy_train", 0]["state"], found["toy_train", 1]["state"]) == ("failed", "stopped")
    assert found["toy_train", 0]["reason"] == "ZeroDivisionError: it was told to have a bug"
    assert "ended without a word" in found["toy_train", 1]["reason"]
    for seed in (0, 1):
        line = found["toy_train", seed]
        assert line["last_lines"] == Path(line["log"]).read_text().splitlines()[-5:]
    shown = command("harness.status", "--runs", str(tmp_path), place=checkout).stdout
    assert "failed, ZeroDivisionError: it was told to have a bug" in shown
    assert "1 done, 1 failed, 1 stopped" in shown or "1 done, 1 stopped, 1 failed" in shown


def test_jobs_are_cancelled_and_what_they_did_stays(checkout, tmp_path):
    """The command itself knows studies only; what it calls is tried on toy runs."""
    toy.behave(tmp_path, 0, "sleep 0.1")
    process = start(tmp_path, checkout, "--rows", "1", "--executor", "local")
    until(lambda: training(tmp_path))
    code = (
        "import sys; from pathlib import Path; from harness.execution import jobs;"
        "from harness.store.runs import Store;"
        "known = [jobs.submitted(run) for run in Store(Path(sys.argv[1])).runs()];"
        "queue = jobs.in_queue(known); print(len(queue)); jobs.cancel(list(queue))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env=toy.environment(checkout),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "1\n"
    assert end(process) == 1
    line = lines(tmp_path, checkout)["toy_train", 0]
    assert (line["state"], line["reason"]) == ("stopped", "asked to stop")
    toy.behave(tmp_path, 0, "")
    assert end(start(tmp_path, checkout, "--rows", "1")) == 0


def test_cancel_of_a_study_without_jobs_says_so(checkout, tmp_path):
    done = command("harness.cancel", "table5", "--runs", str(tmp_path), place=checkout)
    assert (done.returncode, done.stdout) == (0, "no job of this study waits or runs\n")


def test_status_of_a_study_lists_what_has_not_begun(checkout, tmp_path):
    done = command("harness.status", "table5", "--scale", "smoke", "--runs", str(tmp_path), place=checkout)
    assert done.returncode == 0
    planned = plan_of(AblationRequest("table5", table5.study, scale("smoke"))).tasks
    command_line = f"python -m harness.ablate table5 --scale smoke --runs {tmp_path}"
    assert done.stdout == f"table5-smoke: {len(planned)} waiting\n\nnext: {command_line}\n"
    assert not list(tmp_path.iterdir())


def test_status_of_nothing(checkout, tmp_path):
    done = command("harness.status", "--runs", str(tmp_path), place=checkout)
    assert (done.returncode, done.stdout) == (0, "nothing here\n")


def test_the_curves_are_read_from_their_end(tmp_path):
    run = Store(tmp_path).run("tokenizer", "0123")
    run.begin({}, {})
    for step in range(1000):
        run.curves.log(step, {"train/loss": step / 2, "val/kl": step})
    with (run.folder / "metrics.csv").open("a") as file:
        file.write("1000,train/lo")  # it is being written
    (line,) = status.describe({run: ""})
    assert line.metrics == {"train/loss": 499.5, "val/kl": 999.0}
    assert line.state == "killed"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"done": 3}'])
def test_a_damaged_sign_of_life_is_no_sign(content, tmp_path):
    with Progress(tmp_path, 10, "step", 4) as bar:
        bar.update(3)
    found = progress_of(tmp_path)
    assert (found["done"], found["begun"], found["total"]) == (7, 4, 10)
    (tmp_path / "progress.json").write_text(content)
    assert progress_of(tmp_path) is None
    assert os.listdir(tmp_path) == ["progress.json"]


def line(state: str, **fields: object) -> status.Line:
    return status.Line("tokenizer", "0123", "mactok", state, fields.pop("reason", ""), 0, **fields)


def test_a_summary_says_how_far_and_what_went_wrong_and_details_name_all():
    lines = [line("done"), line("done"), line("waiting"), line("failed", reason="disk full", log="a.log")]
    runs = {"done": 3, "total": 40, "unit": "step", "rate": 2.0, "left_seconds": 18.5, "metrics": {"train/loss": 0.5}}
    lines.append(line("running", **runs))
    assert status.summary(lines).splitlines() == [
        "2 done, 1 waiting, 1 failed, 1 running; running stages take 18 s more",
        "  tokenizer 0123 of mactok: 3/40 steps, 2/s, 18 s left, train/loss 0.5",
        "",
        "tokenizer 0123 of mactok: failed, disk full",
        "    log: a.log",
    ]
    assert len(status.table(lines).splitlines()) == 2 + len(lines)


@pytest.mark.parametrize("state", ["killed", "stopped"])
def test_what_ended_without_a_reason_is_named(state):
    ended = line(state, done=3, total=40, unit="step")
    assert status.summary([ended]).splitlines() == [f"1 {state}", "", f"tokenizer 0123 of mactok: {state}, 3/40 steps"]


@pytest.mark.parametrize("columns", [80, 100, 200])
def test_a_table_of_stages_fits(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = [line("running", metrics=dict.fromkeys(status.SHOWN, 0.123456), job="slurm 123456_7", log="x" * 300)]
    assert max(map(len, status.table(lines).splitlines())) <= columns
