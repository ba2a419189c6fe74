"""`--list` and `--fields` name all that can be given."""

from __future__ import annotations

import pytest

from harness import ablate, cli, status, sweep
from harness.__main__ import NAMES, main
from harness.cli.names import names
from harness.evaluation.protocols import PROTOCOLS
from harness.experiments.experiment import Experiment
from harness.experiments.fields import flat
from harness.experiments.requests import OPTION_FIELDS, study_called
from harness.experiments.scales import SCALES, scale
from harness.experiments.study import Ablation, Study
from harness.experiments.sweep import Sweep
from harness.networks.teachers import TEACHERS
from harness.system import plugins
from harness.system.errors import Mistake


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        ablate.main(words)
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_rows_teachers_and_protocols_are_named(capsys):
    text = printed(capsys, "--list")
    for name in (*TEACHERS, *PROTOCOLS, *plugins.names("ablations"), *SCALES):
        assert f"  {name} " in text
    for study in map(study_called, plugins.names("ablations")):
        assert "; ".join(row.name for row in study.rows) in text


@pytest.mark.parametrize("kind", names())
def test_one_kind_can_be_listed(kind, capsys):
    text = printed(capsys, "--list", kind)
    assert text.startswith(f"{kind}:\n")
    assert [line.split("  ")[1] for line in text.splitlines()[1:]] == list(names()[kind])


def test_an_unknown_kind_is_a_mistake():
    with pytest.raises(Mistake, match=r"unknown kind 'teacher'\. Did you mean 'teachers'"):
        ablate.main(["--list", "teacher"])


@pytest.mark.parametrize("name", SCALES)
def test_fields_are_those_of_the_scale_wherever_it_stands(name, capsys):
    text = printed(capsys, "--fields", "--scale", name)
    assert text == printed(capsys, "--scale", name, "--list", "fields") == cli.fields(scale(name)) + "\n"
    experiment: Experiment = SCALES[name].experiment
    for path in flat(experiment):
        assert (f"  {path} = " in text) == (path not in OPTION_FIELDS)
    assert f"training.steps = {experiment.training.steps} " in text


def test_fields_at_a_scale_that_is_unknown():
    with pytest.raises(Mistake, match="Did you mean 'tiny'"):
        ablate.main(["--fields", "--scale", "tinny"])


def test_all_commands_fit_a_screen(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "120")
    assert main([]) == 0
    text = capsys.readouterr().out
    assert len(text.splitlines()) <= 24
    assert all(f"harness.{name}" in text for name in NAMES) and "--list" in text


@pytest.mark.parametrize(("command", "kind"), [(ablate, Ablation), (sweep, Sweep), (status, Study)])
def test_a_command_names_the_studies_that_it_runs(command, kind, capsys):
    own = [name for name in plugins.names("ablations") if isinstance(study_called(name), kind)]
    for name in ("nonesuch", "tabel5", "mask_rato"):
        assert cli.code_of(command.main, [name]) == 2
        assert f"Choices: {', '.join(own)}, or your own: " in capsys.readouterr().err
    if command is not status:  # which shows all runs then
        assert cli.code_of(command.main, []) == 2
        assert capsys.readouterr().err == f"error: name a study: {', '.join(own)}\n"
    for name in set(plugins.names("ablations")) - set(own):
        other = "sweep" if command is ablate else "ablate"
        assert cli.code_of(command.main, [name]) == 2
        assert f"python -m harness.{other} {name} runs it" in capsys.readouterr().err


def test_a_figure_without_a_study_is_said_to_have_none():
    with pytest.raises(Mistake, match=r"no study mirrors figure 3 of the paper: .*: fig1, "):
        ablate.main(["fig3"])
    with pytest.raises(Mistake, match=r"unknown study 'fig6'\. Did you mean 'fig6"):
        ablate.main(["fig6"])


@pytest.mark.parametrize("words", [["ablat"], ["ablat", "table5"], ["ablat", "table5", "--scale", "smoke"]])
def test_a_misspelt_command_is_named_whatever_follows(words):
    with pytest.raises(Mistake, match=r"unknown command 'ablat'\. Did you mean 'ablate'"):
        main(words)


@pytest.mark.parametrize(
    "command", ["evaluate", "generate", "reconstruct", "publish", "convert", "tokenize", "compare"]
)
def test_what_is_missing_is_no_misspelt_option(command):
    with pytest.raises(Mistake, match="required") as mistake:
        main([command])
    assert "Did you mean" not in str(mistake.value)
