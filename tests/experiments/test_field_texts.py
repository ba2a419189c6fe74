"""Every field of `--set` is listed with its type, its range, its value and its meaning."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import Field

from harness.experiments.experiment import Intervals, Scales
from harness.experiments.field_texts import groups, takes
from harness.experiments.fields import flat, with_fields
from harness.experiments.scales import SCALES
from harness.system.errors import Mistake
from models.config import Positive, Share, Weight
from tests.conftest import experiment

FIELDS = [(group, field) for group in groups(experiment()) for field in group.fields]


@pytest.mark.parametrize("name", SCALES)
def test_all_fields_are_listed_once_with_the_values_of_the_scale(name):
    of_scale = SCALES[name].experiment
    listed = [field for group in groups(of_scale) for field in group.fields]
    assert sorted(field.path for field in listed) == sorted(flat(of_scale))
    settings = {f.path: f.value for f in listed if f.value not in ("None", "") and not f.path.startswith("scale")}
    assert with_fields(of_scale, settings) == of_scale  # as `--set` reads them


@pytest.mark.parametrize(("group", "field"), FIELDS, ids=[field.path for _, field in FIELDS])
def test_a_field_has_a_meaning_and_its_class_too(group, field):
    assert field.meaning.endswith(".") and "\n" not in field.meaning
    assert group.about
    assert field.takes


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (bool, "true or false"),
        (str | None, "text"),
        (Positive, "whole number from 1"),
        (Share, "number from 0 to 1"),
        (Weight | None, "number from 0"),
        (Annotated[float, Field(gt=0, lt=1)] | None, "number above 0 below 1"),
        (Annotated[int, Field(ge=16, le=16_384)], "whole number from 16 to 16,384"),
        (Literal["a", "b"] | None, "a or b"),
        (Scales, "number from 1, or several separated by commas"),
        (Intervals, "LOW:HIGH, each a number from 0 to 1, or several separated by commas"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_types_and_ranges(annotation, expected):
    assert takes(annotation) == expected


def test_a_range_is_the_one_that_is_checked():
    for _, field in FIELDS:
        for word, wrong in (("to 1", "1.5"), ("from 1", "0"), ("above 0", "0"), ("true or false", "7")):
            if field.takes.endswith(word):
                with pytest.raises(Mistake):
                    with_fields(experiment(), {field.path: wrong})
