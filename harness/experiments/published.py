"""The numbers that the paper printed, by table and row."""

from __future__ import annotations

import csv
from pathlib import Path

PUBLISHED = Path(__file__).resolve().parents[2] / "ablations"


def published(table: str) -> dict[str, dict[str, str]]:
    """The published rows of a table of the paper, by name: every column as printed there.

    Tables of systems print numbers with and without guidance; their `gfid` and `is` are the numbers with guidance.
    """
    rows = {row["row"]: row for row in _printed("published_ablations.csv", table)}
    systems = _printed("published_systems.csv", table)
    return rows | {row["method"]: row | {"gfid": row["gfid_cfg"], "is": row["is_cfg"]} for row in systems}


def number(table: str, row: str, column: str) -> float:
    """One published number; raises KeyError for a row that is not printed, and ValueError for an empty cell."""
    return float(published(table)[row][column])


def _printed(name: str, table: str) -> list[dict[str, str]]:
    with (PUBLISHED / name).open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["table"] == table]
