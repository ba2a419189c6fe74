"""The log of requests: what no longer reads is kept beside the new record, and holds on to its runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness import prune
from harness.experiments.requests import SweepRequest, new_request
from harness.experiments.scales import scale
from harness.planning.request_log import FOLDER, remember, remembered_request, remembered_requests
from harness.store.runs import Store
from harness.system.errors import Mistake
from harness.system.files import read_json, write_json

TABLE = new_request("table5", scale("smoke"), rows=("KL-VAE",))
SWEEP = new_request("mask_ratio", scale("smoke"))


def record(store: Store, page: str) -> Path:
    return store.root / FOLDER / f"{page}.json"


def with_points(count: int) -> SweepRequest:
    assert isinstance(SWEEP, SweepRequest)
    request = SWEEP
    for point in SWEEP.grid()[:count]:
        request = request.with_point(point)
    return request


def cut(path: Path) -> None:
    path.write_text(path.read_text()[:-20])


def flip(path: Path) -> None:
    path.write_text(path.read_text().replace("smoke", "smake", 1))


def of_other_code(path: Path) -> None:
    write_json(path, read_json(path) | {"study": "a_study_that_is_no_more"})


def without_a_key(path: Path) -> None:
    write_json(path, {key: value for key, value in read_json(path).items() if key != "fields"})


DAMAGES = [cut, flip, of_other_code, without_a_key]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_record_that_does_not_read_is_kept_and_named(damage, tmp_path, capsys):
    store = Store(tmp_path)
    remember(with_points(3), store)
    path = record(store, SWEEP.page)
    damage(path)
    damaged = path.read_bytes()
    remember(with_points(1), store)
    line = capsys.readouterr().err
    aside = path.with_name(f"{SWEEP.page}.unreadable-1.json")
    assert aside.read_bytes() == damaged
    assert line.count("\n") == 1
    assert aside.name in line and f"--forget {aside.stem}" in line
    assert len(read_json(path)["points"]) == 1


def test_every_record_that_does_not_read_is_kept(tmp_path, capsys):
    store = Store(tmp_path)
    for _ in range(3):
        remember(TABLE, store)
        cut(record(store, TABLE.page))
    remember(TABLE, store)
    names = sorted(path.name for path in (tmp_path / FOLDER).iterdir())
    assert names == [f"{TABLE.page}.json", *(f"{TABLE.page}.unreadable-{k}.json" for k in (1, 2, 3))]
    assert capsys.readouterr().err.count("\n") == 3


def test_nothing_is_removed_before_it_is_forgotten(tmp_path, capsys):
    store = Store(tmp_path)
    remember(TABLE, store)
    cut(record(store, TABLE.page))
    remember(TABLE, store)
    with pytest.raises(Mistake, match="unreadable-1"):
        prune.main(["--runs", str(tmp_path), "--yes"])
    assert prune.main(["--runs", str(tmp_path), "--yes", "--forget", f"{TABLE.page}.unreadable-1"]) == 0
    assert [request.page for request in remembered_requests(store)] == [TABLE.page]


def test_a_record_that_reads_keeps_seeds_and_points(tmp_path, capsys):
    store = Store(tmp_path)
    remember(with_points(3), store)
    remember(with_points(1), store)
    found = remembered_request(SWEEP, store)
    assert found is not None and found.plan is not None
    assert found.plan.request == with_points(3)
    assert capsys.readouterr().err == ""
    assert json.loads(record(store, SWEEP.page).read_text())["content"]["command"] == SWEEP.command
