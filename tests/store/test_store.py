from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import filelock
import pandas as pd
import pytest

from harness.store.records import Record
from harness.store.runs import Damaged, Run, Store
from harness.system.errors import Mistake, Trouble
from harness.system.files import checksum, read_json, replacing, write_json

RECORDS = [
    Record("psnr", 21.25, 128, 40, "val", "8-bit RGB"),
    Record("kid", 0.1 + 0.2, 128, 40, "val_unseen", "20 subsets", deviation=1e-17),
]
FACTS = {"classes": ["Fußball", "日本"], "widths": [112, 1280], "unknown": None}
FILES = {"metrics.csv": b"", "weights.bin": bytes(range(256)), "snapshots/8.bin": b"eight"}


def finished(root: Path) -> Run:
    run = Store(root).run("tokenizer", "0123")
    run.begin({"stage": "tokenizer", "revision": 1}, {"device": "cpu"})
    run.curves.log(10, {"train/loss": 0.5})
    for name, content in FILES.items():
        if content:
            (run.folder / name).parent.mkdir(exist_ok=True)
            (run.folder / name).write_bytes(content)
    run.finish(RECORDS, FACTS)
    return run


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0b100
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


DAMAGE: dict[str, Callable[[Path], None]] = {"flip": flip, "cut": cut, "empty": empty, "gone": Path.unlink}


# Life of a run


def test_a_run_that_nobody_began_waits(tmp_path):
    run = Store(tmp_path).run("tokenizer", "0123")
    assert run.state == "waiting"
    assert run.status() == {"state": "waiting", "reason": "", "attempts": []}
    assert run.seconds == 0
    assert (run.stage, run.key) == ("tokenizer", "0123")
    assert not run.folder.exists()


def test_attempts_add_up(tmp_path):
    run = Store(tmp_path).run("tokenizer", "0123")
    run.begin({"revision": 1}, {"threads": 1})
    assert run.state == "running"
    run.end("stopped", "asked to stop")
    assert (run.state, run.status()["reason"]) == ("stopped", "asked to stop")
    run.begin({"revision": 1}, {"threads": 2})
    assert (run.state, run.status()["reason"]) == ("running", "")
    run.end("failed", "disk full")
    run.begin({"revision": 1}, {"threads": 3})
    run.finish([], {})
    assert run.state == "done"
    attempts = run.status()["attempts"]
    assert [a["outcome"] for a in attempts] == ["stopped", "failed", "done"]
    assert [a["environment"]["threads"] for a in attempts] == [1, 2, 3]
    assert run.seconds == sum(a["seconds"] for a in attempts)
    assert all(a["seconds"] >= 0 for a in attempts)


def test_an_attempt_that_was_killed_stays_in_the_record(tmp_path):
    run = Store(tmp_path).run("tokenizer", "0123")
    run.begin({}, {})
    run.begin({}, {})
    run.finish([], {})
    assert [a["outcome"] for a in run.status()["attempts"]] == ["killed", "done"]


FAILED = {"a mistake": Mistake, "trouble": Trouble, "damage": lambda text: Damaged(Run(Path("s/k")), text, "is gone")}


@pytest.mark.parametrize("failure", [*FAILED, "a bug", "of an old store"])
def test_a_failure_is_told_from_a_bug_by_its_kind_not_by_its_words(failure, tmp_path):
    run = Store(tmp_path).run("data", "0123")
    run.begin({}, {})
    error = FAILED.get(failure, ValueError)("owls: no image opens")
    run.end("failed", str(error), None if failure == "of an old store" else error)
    assert run.state == "failed"
    told = run.refusal
    if failure not in FAILED:
        assert told is None
    else:
        assert (type(told), str(told)) == (Mistake if failure == "a mistake" else Trouble, str(error))
    run.begin({}, {})
    assert run.refusal is None and "failure" not in run.status()


def test_set_state_keeps_the_attempts(tmp_path):
    run = finished(tmp_path)
    attempts = run.status()["attempts"]
    run.set_state("damaged", "weights.bin is gone")
    assert run.status() == {"state": "damaged", "reason": "weights.bin is gone", "attempts": attempts}


def test_a_result_comes_back_as_it_was(tmp_path):
    run = finished(tmp_path)
    assert run.records() == RECORDS
    assert run.result()["facts"] == FACTS
    assert run.config() == {"stage": "tokenizer", "revision": 1}
    for name, content in FILES.items():
        assert run.file(name) == run.folder / name
        assert not content or run.file(name).read_bytes() == content
    assert run.checked_folder() == run.folder


def test_values_that_are_no_numbers_come_back_too(tmp_path):
    run = Store(tmp_path).run("evaluation", "0123")
    run.begin({}, {})
    run.finish([dataclasses.replace(RECORDS[0], value=value) for value in (math.nan, math.inf)], {})
    assert run.state == "done"
    assert [math.isnan(r.value) or r.value for r in run.records()] == [True, math.inf]


def test_the_checkpoint_goes_and_nothing_temporary_is_listed(tmp_path):
    run = Store(tmp_path).run("tokenizer", "0123")
    run.begin({}, {})
    (run.folder / "checkpoint.pt").write_bytes(b"big")
    (run.folder / ".weights.bin.4711").write_bytes(b"of a process that was killed")
    (run.folder / "weights.bin").write_bytes(b"whole")
    run.finish([], {})
    assert list(run.result()["files"]) == ["weights.bin"]
    assert not (run.folder / "checkpoint.pt").exists()


def test_a_result_counts_only_when_the_status_says_so(tmp_path, monkeypatch):
    run = Store(tmp_path).run("tokenizer", "0123")
    run.begin({}, {})

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "end", killed)
    with pytest.raises(KeyboardInterrupt):
        run.finish(RECORDS, FACTS)
    assert (run.folder / "result.json").exists()
    assert run.state == "running"


# Damage


def test_no_flipped_bit_changes_what_is_read(tmp_path):
    """Every bit of a JSON file: the flip is noticed, or the content is what it was (white space, `e` of a number)."""
    path = tmp_path / "result.json"
    content = {"records": [1.5, -2e-7, "Fußball"], "facts": {"ok": True, "none": None}, "files": {}}
    write_json(path, content)
    whole = path.read_bytes()
    unnoticed = 0
    for place in range(len(whole)):
        for bit in range(8):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
            try:
                assert read_json(path) == content
                unnoticed += 1
            except ValueError:
                pass
    assert unnoticed < len(whole) / 2


def test_no_cut_json_is_read(tmp_path):
    path = tmp_path / "result.json"
    write_json(path, {"records": [1, 2, 3]})
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"\w"):
            read_json(path)


@pytest.mark.parametrize("text", ["[]", "3", "null", "{}", '{"sha256": null, "content": null}', '{"content": {}}'])
def test_other_json_is_not_ours(text, tmp_path):
    (tmp_path / "status.json").write_text(text)
    with pytest.raises(ValueError, match="does not match its checksum"):
        read_json(tmp_path / "status.json")


def test_an_edited_number_is_noticed(tmp_path):
    run = finished(tmp_path)
    path = run.folder / "result.json"
    stored = json.loads(path.read_text())
    stored["content"]["records"][0]["value"] = 30.0
    path.write_text(json.dumps(stored))
    assert run.state == "damaged"


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_of_the_status(damage, tmp_path):
    run = finished(tmp_path)
    DAMAGE[damage](run.folder / "status.json")
    assert run.state == ("waiting" if damage == "gone" else "damaged")
    run.begin({}, {})
    run.finish(RECORDS, FACTS)
    assert run.state == "done"


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_of_the_result(damage, tmp_path):
    run = finished(tmp_path)
    DAMAGE[damage](run.folder / "result.json")
    assert run.state == "damaged"
    for look in (run.result, run.records, run.checked_folder, lambda: run.file("weights.bin")):
        with pytest.raises(Damaged, match=r"result\.json is gone or damaged: run its study again to make it again"):
            look()


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_of_the_configuration(damage, tmp_path):
    run = finished(tmp_path)
    DAMAGE[damage](run.folder / "config.json")
    with pytest.raises((Damaged, ValueError, FileNotFoundError)):
        run.config()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_of_a_file(damage, name, tmp_path):
    run = finished(tmp_path)
    DAMAGE[damage](run.folder / name)
    with pytest.raises(Damaged, match="is gone" if damage == "gone" else "is damaged") as caught:
        run.file(name)
    assert caught.value.run is run
    assert name in str(caught.value)
    with pytest.raises(Damaged):
        run.checked_folder()
    for other in set(FILES) - {name}:
        assert run.file(other).exists()


def test_a_file_of_the_same_length_is_not_the_same(tmp_path):
    run = finished(tmp_path)
    (run.folder / "snapshots/8.bin").write_bytes(b"EIGHT")
    with pytest.raises(Damaged, match="is damaged"):
        run.file("snapshots/8.bin")


def test_a_file_that_the_result_does_not_name_is_not_given_out(tmp_path):
    run = finished(tmp_path)
    (run.folder / "stray.bin").write_bytes(b"stray")
    with pytest.raises(Damaged):
        run.file("stray.bin")


def test_results_outlive_deleted_weights(tmp_path):
    run = finished(tmp_path)
    (run.folder / "weights.bin").unlink()
    assert run.state == "done"
    assert run.records() == RECORDS
    assert run.result()["facts"] == FACTS
    with pytest.raises(Damaged, match=r"weights\.bin is gone"):
        run.file("weights.bin")


def test_checksum_is_sha256(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert checksum(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


# Replacing files


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_block_that_raises_leaves_the_old_file(error, tmp_path):
    path = tmp_path / "weights.bin"
    path.write_bytes(b"old")
    with pytest.raises(error), replacing(path) as temporary:
        temporary.write_bytes(b"half of the ne")
        raise error
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_writes_nothing_leaves_the_old_file(tmp_path):
    path = tmp_path / "weights.bin"
    path.write_bytes(b"old")
    with pytest.raises(FileNotFoundError), replacing(path):
        pass
    assert path.read_bytes() == b"old"


def test_the_old_file_stands_until_the_block_ends(tmp_path):
    path = tmp_path / "weights.bin"
    path.write_bytes(b"old")
    with replacing(path) as temporary:
        temporary.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_kill_while_writing_leaves_the_old_file(tmp_path):
    run = finished(tmp_path)
    code = (
        "import os, signal, sys; from pathlib import Path; from harness.system.files import replacing\n"
        "with replacing(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(run.folder / "result.json")], check=False)
    assert killed.returncode == -9
    assert run.state == "done"
    assert run.records() == RECORDS
    assert run.checked_folder() == run.folder


# Locks

HOLDER = """
import sys, time
from pathlib import Path
from harness.store.runs import Store
with Store(Path(sys.argv[1])).run("tokenizer", "0123").lock:
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_excludes_others_until_its_holder_is_killed(tmp_path):
    run = Store(tmp_path).run("tokenizer", "0123")
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(filelock.Timeout):
            run.lock.acquire(timeout=0)
        with Store(tmp_path).run("tokenizer", "4567").lock.acquire(timeout=0):
            pass
        holder.kill()
        holder.wait()
        with run.lock.acquire(timeout=5):
            assert run.state == "waiting"
    assert not run.folder.exists()


# metrics.csv


def curves(run: Run) -> pd.DataFrame:
    return pd.read_csv(run.folder / "metrics.csv")


def test_metrics_are_read_by_pandas(tmp_path):
    run = Store(tmp_path).run("tokenizer", "0123")
    run.begin({}, {})
    assert run.curves.mark()["bytes"] == 0
    values = {"train/loss": 0.1 + 0.2, "val/kl": 1e-300, "val/error": math.nan, "train/gradient_norm": math.inf}
    run.curves.log(0, {"val/kl": 3.0})
    run.curves.log(10, values)
    table = curves(run)
    assert list(table.columns) == ["step", "metric", "value"]
    assert table.step.tolist() == [0, 10, 10, 10, 10]
    found = table[table.step == 10].set_index("metric").value
    assert list(found.index) == list(values)
    assert found.tolist() == pytest.approx(list(values.values()), rel=1e-15, nan_ok=True)


def test_metrics_after_a_checkpoint_are_forgotten(tmp_path):
    run = Store(tmp_path).run("tokenizer", "0123")
    run.begin({}, {})
    for step in (0, 10):
        run.curves.log(step, {"train/loss": float(step)})
    mark, before = run.curves.mark(), (run.folder / "metrics.csv").read_bytes()
    for step in (20, 30):
        run.curves.log(step, {"train/loss": float(step)})
    run.curves.rewind(mark)
    assert (run.folder / "metrics.csv").read_bytes() == before
    run.curves.rewind(mark)
    run.curves.log(20, {"train/loss": -1.0})
    assert curves(run).value.tolist() == [0, 10, -1]
    with pytest.raises(ValueError, match="does not match its checksum"):
        run.curves.rewind({**mark, "bytes": mark["bytes"] + 100})


def test_metrics_from_the_start_again_have_one_header(tmp_path):
    run = Store(tmp_path).run("tokenizer", "0123")
    run.begin({}, {})
    run.curves.rewind()
    for _ in range(2):
        run.curves.log(0, {"val/kl": 3.0})
        run.curves.rewind()
    run.curves.log(0, {"val/kl": 4.0})
    assert curves(run).value.tolist() == [4]
