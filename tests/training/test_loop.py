from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from harness.experiments.experiment import Training
from harness.training.checkpoints import read_checkpoint, write_checkpoint
from harness.training.optimizer import learning_rate

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
    with pytest.raises(ValueError, match="it names pathlib"):
        read_checkpoint(path)


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
