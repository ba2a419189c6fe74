"""A name that does not exist gets the nearest one that does."""

from __future__ import annotations

import pytest

from harness.cli.names import names
from harness.experiments.fields import with_fields
from harness.experiments.requests import study_called
from harness.experiments.scales import scale
from harness.hub import licenses
from harness.planning.task import task
from harness.system import plugins
from harness.system.errors import Mistake, did_you_mean, unknown


@pytest.mark.parametrize("kind", names())
def test_every_name_is_found_in_other_case_and_with_other_dashes(kind):
    known = list(names()[kind])
    for name in known:
        for other in (name.upper(), name.capitalize(), name.replace("_", "-"), name.replace("-", " "), f" {name}"):
            assert f"Did you mean {name!r}?" in str(unknown(kind, other, known))


@pytest.mark.parametrize("kind", names())
def test_a_name_with_a_slip_gets_a_suggestion(kind):
    for name in (name for name in names()[kind] if len(name) > 3):
        middle = len(name) // 2
        swapped = f"{name[: middle - 1]}{name[middle]}{name[middle - 1]}{name[middle + 1 :]}"
        for other in (name[:-1], f"{name[:middle]}{name[middle:]}{name[-1]}", f"{name[:-1]}~", swapped):
            assert "Did you mean" in str(unknown(kind, other, list(names()[kind]))), other


FAR = ("proprietary", "xyz", "xyzlicense", "mylicense", "nothing at all", "x", "zzz", "commercial", "quality", "house")


@pytest.mark.parametrize("kind", ["licenses", *names()])
def test_a_name_that_is_far_from_all_gets_none(kind):
    known = sorted(licenses.KNOWN) if kind == "licenses" else list(names()[kind])
    assert [word for word in FAR if did_you_mean(word, known)] == []


def test_a_name_that_a_plugin_can_bring_names_the_option():
    row = scale("smoke").variant("mactok")
    asked = {
        "study": lambda: study_called("not_there"),
        "variant": lambda: scale("smoke").variant("not_there"),
        **{
            kind: lambda path=path: task("generator", with_fields(scale("smoke").experiment, row | {path: "not_there"}))
            for kind, path in (
                ("data set", "data.name"),
                ("generator", "generator.name"),
                ("teacher", "teacher"),
                ("tokenizer", "tokenizer.name"),
            )
        },
        "metric": lambda: plugins.load("harness.evaluation.metrics", "not_there", "metric"),
    }
    assert asked.keys() == {kind.title for kind in plugins.KINDS}
    for kind, ask in asked.items():
        with pytest.raises(Mistake, match=f"^unknown {kind} 'not_there'.* or your own: --plugins PATH$"):
            ask()
    with pytest.raises(Mistake, match=r"^unknown executor 'mine'\. Choices: inline, local, slurm$"):
        plugins.load("harness.execution.executors", "mine", "executor")


def test_rows_and_their_variants_are_found():
    study = study_called("table5")
    for row in study.rows:
        assert f"Did you mean {row.name!r}?" in str(study.no_row(row.name.lower().replace(" ", "-")))
    assert "Did you mean 'mactok'? " in str(study.no_row("mactk"))


def test_nothing_near_is_no_question():
    assert did_you_mean("zzz", ["mactok"]) == did_you_mean("", ["mactok"]) == did_you_mean("-", []) == ""
