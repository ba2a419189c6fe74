"""Texts with numbers in them."""

from __future__ import annotations

import re

import pytest

from harness.system.texts import counted
from tests.toy import ROOT


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 threads"), (1, "1 thread"), (2, "2 threads"), (1000, "1,000 threads")]
)
def test_one_thing_is_singular(number, text):
    assert counted(number, "thread") == text


def test_threads_are_counted_in_one_way():
    """Their number may be 1 wherever it is told."""
    for path in sorted((ROOT / "harness").rglob("*.py")):
        assert not re.search(r"\} threads?\b", path.read_text(encoding="utf-8")), path
