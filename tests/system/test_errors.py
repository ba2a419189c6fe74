"""A name that does not exist gets the nearest one that does."""

from __future__ import annotations

import pytest

from harness.cli.names import names
from harness.experiments.requests import study_called
from harness.system.errors import did_you_mean, unknown


@pytest.mark.parametrize("kind", names())
def test_every_name_is_found_in_other_case_and_with_other_dashes(kind):
    known = list(names()[kind])
    for name in known:
        for other in (name.upper(), name.capitalize(), name.replace("_", "-"), name.replace("-", " "), f" {name}"):
            assert f"Did you mean {name!r}?" in str(unknown(kind, other, known))


def test_rows_and_their_variants_are_found():
    study = study_called("table5")
    for row in study.rows:
        assert f"Did you mean {row.name!r}?" in str(study.no_row(row.name.lower().replace(" ", "-")))
    assert "Did you mean 'mactok'? " in str(study.no_row("mactk"))


def test_nothing_near_is_no_question():
    assert did_you_mean("zzz", ["mactok"]) == did_you_mean("", ["mactok"]) == did_you_mean("-", []) == ""
