"""What several tests share: a torch with the machine's rules, and one finished smoke table."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.experiment import Experiment, with_fields, with_variant
from harness.scales import scale


def experiment(variant: str = "mactok", **fields: object) -> Experiment:
    """A smoke experiment of a variant; fields with `__` for the dot."""
    set_fields = {path.replace("__", "."): value for path, value in fields.items()}
    return with_fields(with_variant(scale("smoke").experiment, variant), set_fields)


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that tests of one session share: what one of them trained, the others find."""
    return tmp_path_factory.mktemp("runs")
