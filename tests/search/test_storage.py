"""Journals of sweeps that are damaged."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest

from harness.search.storage import quiet, storage_at
from harness.system.errors import Trouble

DAMAGES = [
    b"text\n",
    b"\xff\xfe\n",
    b"[]\n",
    b'{"op_code": "a"}\n',
    b'{"op_code": 99}\n',
    b'{"op_code": 4}\n',
    b"\n",
    b"{\n",
]


@pytest.mark.parametrize("damage", DAMAGES, ids=repr)
@pytest.mark.parametrize("line", [2, 5])
def test_a_damaged_journal_names_its_line_and_the_remedy(line: int, damage: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.journal"
    with quiet():
        study = optuna.create_study(storage=storage_at(str(path)), study_name="a")
        for _ in range(3):
            study.tell(study.ask(), 1.0)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[: line - 1], damage, *lines[line - 1 :]]))
    with pytest.raises(Trouble, match=f"a damaged journal: line {line} is damaged .*; remove that line, or") as error:
        storage_at(str(path))
    assert "\n" not in str(error.value)
    path.write_bytes(b"".join(lines))
    assert len(optuna.load_study(storage=storage_at(str(path)), study_name="a").trials) == 3
