"""A sweep whose trials are recorded in a real PostgreSQL."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest

from tests import toy
from tests.postgres import Postgres, available

pytestmark = [pytest.mark.skipif(bool(available()), reason=available()), pytest.mark.slow]

PLACES = 9  # of the toy's grid
PAGE = "bowl-smoke-rfd"


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    # Not pytest's folder, which the server's user may not enter.
    with tempfile.TemporaryDirectory(prefix="postgres-", dir="/tmp") as place, Postgres(Path(place)) as running:
        yield running


def start(checkout: Path, postgres: Postgres, runs: Path) -> subprocess.Popen[str]:
    words = ["bowl", "--scale", "smoke", "--runs", str(runs), "--out", str(runs / "out"), "--storage", postgres.url]
    return subprocess.Popen(
        [sys.executable, "-m", "harness.sweep", *words],
        env=toy.environment(checkout),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_trials_survive_a_kill_and_belong_to_one_store(checkout, postgres, tmp_path):
    runs = tmp_path / "runs"
    (runs / "behaviour").mkdir(parents=True)
    (runs / "behaviour/toy_bowl").write_text("sleep 0.02")
    first = start(checkout, postgres, runs)
    while len(list(runs.glob("toy_bowl/*/result.json"))) < 2:
        assert first.poll() is None
        time.sleep(0.05)
    first.kill()
    first.communicate()
    second = start(checkout, postgres, runs)
    out, errors = second.communicate(timeout=60)
    assert second.returncode == 0, errors
    assert "***" in out
    storage = optuna.storages.RDBStorage(postgres.url)
    done = optuna.load_study(storage=storage, study_name=PAGE).trials
    storage.remove_session()
    storage.engine.dispose()
    assert [t.state.name for t in done] == ["COMPLETE"] * PLACES
    assert len({tuple(t.params.items()) for t in done}) == PLACES
    written = [path.read_text() for path in runs.rglob("*") if path.suffix in (".json", ".md")]
    assert not any("secret" in text for text in (out, errors, *written))

    other = start(checkout, postgres, tmp_path / "other")
    _, errors = other.communicate(timeout=60)
    assert other.returncode == 2
    assert errors.startswith("error:")
    assert "another store" in errors
    assert errors.count("\n") == 1
    assert not (tmp_path / "other").exists()
