from __future__ import annotations

import dataclasses
import json
import math
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import filelock
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from harness.batches import Batches
from harness.draws import Draws, generator
from harness.experiment import Training
from harness.images import flipped, to_tensor, to_uint8
from harness.machine import Machine
from harness.store import Damaged, Record, Run, Store, checksum, read_json, replacing, write_json
from harness.training import learning_rate, read_checkpoint, write_checkpoint

RECORDS = [
    Record("psnr", 21.25, 128, 40, "val", "8-bit RGB"),
    Record("kid", 0.1 + 0.2, 128, 40, "val_unseen", "20 subsets", deviation=1e-17),
]
FACTS = {"classes": ["Fußball", "日本"], "widths": [112, 1280], "unknown": None}
FILES = {"metrics.csv": b"", "weights.bin": bytes(range(256)), "snapshots/8.bin": b"eight"}


def finished(root: Path) -> Run:
    run = Store(root).run("tokenizer", "0123")
    run.begin({"stage": "tokenizer", "revision": 1}, {"device": "cpu"})
    run.log_metrics(10, {"train/loss": 0.5})
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
    with pytest.raises(ValueError, match="not what was written"):
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
        with pytest.raises(Damaged, match=r"result\.json is gone or damaged: the same command makes it again"):
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
        "import os, signal, sys; from pathlib import Path; from harness.store import replacing\n"
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
from harness.store import Store
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
    assert run.metrics_bytes() == 0
    values = {"train/loss": 0.1 + 0.2, "val/kl": 1e-300, "val/error": math.nan, "train/gradient_norm": math.inf}
    run.log_metrics(0, {"val/kl": 3.0})
    run.log_metrics(10, values)
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
        run.log_metrics(step, {"train/loss": float(step)})
    size, before = run.metrics_bytes(), (run.folder / "metrics.csv").read_bytes()
    for step in (20, 30):
        run.log_metrics(step, {"train/loss": float(step)})
    run.truncate_metrics(size)
    assert (run.folder / "metrics.csv").read_bytes() == before
    run.truncate_metrics(size)
    run.log_metrics(20, {"train/loss": -1.0})
    assert curves(run).value.tolist() == [0, 10, -1]
    with pytest.raises(ValueError, match="cut short"):
        run.truncate_metrics(run.metrics_bytes() + 1)


def test_metrics_from_the_start_again_have_one_header(tmp_path):
    run = Store(tmp_path).run("tokenizer", "0123")
    run.begin({}, {})
    run.truncate_metrics(0)
    for _ in range(2):
        run.log_metrics(0, {"val/kl": 3.0})
        run.truncate_metrics(0)
    run.log_metrics(0, {"val/kl": 4.0})
    assert curves(run).value.tolist() == [4]


# Checkpoints


def test_a_checkpoint_comes_back_as_it_was(tmp_path):
    model = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    state = {"step": 7, "model": dict(model.named_parameters()), "optimizer": optimizer.state_dict()}
    path = tmp_path / "checkpoint.pt"
    write_checkpoint(path, state)
    found = read_checkpoint(path)
    assert found["step"] == 7
    assert all(torch.equal(found["model"][name], p) for name, p in model.named_parameters())
    assert found["optimizer"]["param_groups"] == optimizer.state_dict()["param_groups"]
    for name, value in optimizer.state_dict()["state"][0].items():
        assert torch.equal(found["optimizer"]["state"][0][name], value)
    assert list(tmp_path.iterdir()) == [path]


def test_a_damaged_checkpoint_is_noticed(tmp_path):
    path = tmp_path / "checkpoint.pt"
    write_checkpoint(path, {"step": 7, "model": torch.arange(100.0)})
    whole = path.read_bytes()
    places = range(0, len(whole), 7)
    flips = [whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :] for place in places]
    cuts = [whole[:length] for length in (0, 1, 31, 32, 33, len(whole) // 2, len(whole) - 1)]
    for damaged in [*flips, *cuts, whole + b"\0"]:
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="is damaged"):
            read_checkpoint(path)


def test_a_checkpoint_runs_no_code(tmp_path):
    path = tmp_path / "checkpoint.pt"
    write_checkpoint(path, {"step": Path("of no use")})
    with pytest.raises(pickle.UnpicklingError):
        read_checkpoint(path)


# Images


def test_every_8_bit_value_comes_back():
    images = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    x = to_tensor(images)
    assert x.shape == (1, 3, 16, 16)
    assert (x.min(), x.max()) == (-1, 1)
    assert torch.equal(to_uint8(x), torch.from_numpy(images).permute(0, 3, 1, 2))


@pytest.mark.parametrize("offset", [-0.49, -0.01, 0.01, 0.49])
def test_8_bits_are_rounded_never_truncated(offset):
    values = torch.arange(256.0)
    assert torch.equal(to_uint8((values + offset) / 127.5 - 1), values.to(torch.uint8))


def test_8_bits_are_clipped_not_wrapped():
    assert to_uint8(torch.tensor([-7.0, -1.01, 1.01, 7.0])).tolist() == [0, 0, 255, 255]


def test_flipped_mirrors_left_to_right_where_it_should():
    x = torch.arange(2 * 3 * 2 * 2).view(2, 3, 2, 2).float()
    found = flipped(x, torch.tensor([False, True]))
    assert torch.equal(found[0], x[0])
    assert torch.equal(found[1], x[1][:, :, [1, 0]])


# Draws

BASE = Draws(0, "tokenizer", 0)


@pytest.mark.parametrize("kind", ["uniform", "normal"])
def test_draws_are_functions_of_seed_stage_name_and_step(kind):
    def draw(draws: Draws, name: str = "latents") -> torch.Tensor:
        return getattr(draws, kind)(name, 5, 4)

    first = draw(BASE)
    torch.manual_seed(1)
    assert torch.equal(draw(BASE), first)
    assert torch.equal(draw(Draws(0, "tokenizer", 0)), first)
    others = [draw(BASE, "flip")]
    others += [draw(dataclasses.replace(BASE, **change)) for change in ({"seed": 1}, {"stage": "x"}, {"step": 1})]
    assert not any(torch.equal(other, first) for other in others)
    assert first.shape == (5, 4)
    assert first.dtype == torch.float32


def test_draws_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    BASE.normal("latents", 10)
    generator(0, "tokenizer", "order", 3)
    assert torch.equal(torch.get_rng_state(), before)


def test_seeds_and_steps_are_not_confused():
    found = {tuple(Draws(seed, "s", step).uniform("u", 2).tolist()) for seed in range(25) for step in range(25)}
    assert len(found) == 625


def test_draws_have_their_law():
    uniform, normal = BASE.uniform("u", 100_000), BASE.normal("n", 100_000)
    assert uniform.min() >= 0
    assert uniform.max() < 1
    assert uniform.mean().item() == pytest.approx(0.5, abs=0.004)
    assert normal.mean().item() == pytest.approx(0, abs=0.013)
    assert normal.var().item() == pytest.approx(1, abs=0.018)


# Batches

IMAGES = 10


def batches(batch_images: int = 4, seed: int = 0, stage: str = "tokenizer", images: int = IMAGES) -> Batches:
    pixels = np.random.default_rng(0).integers(0, 256, (images, 2, 2, 3), dtype=np.uint8)
    return Batches(pixels, batch_images, seed, stage, Machine("cpu", "float32", 1))


@pytest.mark.parametrize("batch_images", [1, 4, 10, 25])
def test_every_epoch_is_a_permutation_of_its_own(batch_images):
    b = batches(batch_images)
    epochs = 6
    steps = -(-epochs * IMAGES // batch_images)
    order = torch.cat([b.indices(step) for step in range(steps)])[: epochs * IMAGES].view(epochs, IMAGES)
    assert all(sorted(epoch) == list(range(IMAGES)) for epoch in order.tolist())
    assert len(order.unique(dim=0)) == epochs


def test_a_batch_is_a_function_of_seed_stage_and_step():
    b = batches()
    forward = [b(step) for step in range(9)]
    for step in (8, 0, 5, 2):
        for again in (b(step), batches()(step)):
            for field in ("x", "indices", "flips"):
                assert torch.equal(getattr(again, field), getattr(forward[step], field))
    others = [batches(seed=1), batches(stage="finetuning")]
    for other in others:
        assert any(not torch.equal(other.indices(step), forward[step].indices) for step in range(3))
        assert any(not torch.equal(other(step).flips, forward[step].flips) for step in range(3))


def test_a_batch_holds_the_images_that_it_names():
    b = batches(25)
    batch = b(1)
    for x, index, mirrored in zip(batch.x, batch.indices, batch.flips, strict=True):
        image = to_tensor(b.images[[int(index)]])[0]
        assert torch.equal(x, image.flip(-1) if mirrored else image)


def test_half_of_the_images_are_mirrored():
    flips = torch.cat([batches(100, images=100)(step).flips for step in range(100)]).double()
    assert flips.mean().item() == pytest.approx(0.5, abs=4 * 0.005)


# Learning rate


def training(**fields: float) -> Training:
    base = Training(steps=100, batch_images=4, learning_rate=2e-3, warmup_steps=10, final_ratio=0.1)
    return dataclasses.replace(base, **fields)


def test_learning_rate_rises_to_the_peak_and_falls_to_its_end():
    t = training()
    rates = [learning_rate(t, step) for step in range(101)]
    assert rates[0] == pytest.approx(2e-4)
    assert np.diff(rates[:10]) == pytest.approx(2e-4)
    assert rates[9] == rates[10] == max(rates) == pytest.approx(2e-3)
    assert (np.diff(rates[10:]) < 0).all()
    assert rates[55] == pytest.approx(2e-3 * 0.55)  # half-way down the cosine
    assert rates[100] == pytest.approx(2e-4)
    assert rates[99] == pytest.approx(2e-4, rel=0.01)


def test_learning_rate_without_warm_up_or_without_decay():
    assert learning_rate(training(warmup_steps=0), 0) == pytest.approx(2e-3)
    constant = training(final_ratio=1.0, warmup_steps=0)
    assert {learning_rate(constant, step) for step in range(100)} == {2e-3}
    assert learning_rate(training(final_ratio=0.0), 100) == 0
    assert all(learning_rate(training(final_ratio=0.0), step) > 0 for step in range(100))
