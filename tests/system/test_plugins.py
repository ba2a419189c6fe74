"""Plug-ins of users: every kind is found, broken ones are named and break nothing, no key of ours depends on them."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from harness import cli
from harness.data import splits
from harness.execution import code_copy
from harness.experiments import plugin_metrics
from harness.experiments.experiment import Data
from harness.experiments.requests import AblationRequest, new_request, study_called
from harness.experiments.scales import scale
from harness.experiments.study import Ablation
from harness.networks import flops, teachers
from harness.planning.task import task, tasks
from harness.store.runs import Store
from harness.system import plugins
from harness.system.errors import Mistake
from models import generators, tokenizers
from models.config import Transformer
from models.forms import Latents
from tests.conftest import MACHINE, SIDE, experiment, images
from tests.experiments.test_experiment import GOLDEN

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs/examples/plugins"
METRICS = EXAMPLES / "sharpness.py"
SPREAD = Path(__file__).with_name("spread.py")  # a metric of generated images
OF_PLUGINS = {"plugin_metrics", "plugin_generation"}


def found(*places: Path) -> None:
    for place in places:
        plugins.add(place)
    plugins.find()
    task.cache_clear()


@pytest.fixture
def examples() -> None:
    found(EXAMPLES)


# The examples


def test_every_kind_has_an_example_that_says_what_it_is(examples):
    assert {kind.package for kind in plugins.KINDS} == set(plugins.USERS)
    files = {Path(str(module.__file__)) for of_kind in plugins.USERS.values() for module in of_kind.values()}
    assert files == set(EXAMPLES.glob("*.py"))
    for file in files:
        text = file.read_text()
        assert ast.get_docstring(ast.parse(text)) and text.count("\n") <= 50


def test_plug_ins_stand_in_the_list_beside_ours(examples):
    listing = cli.listing()
    for name in ("mask_kinds", "gentle_masking", "patchwise", "sharpness", "stripes", "edges", "mixer", "table5"):
        assert f"\n  {name} " in listing


def test_the_data_set_has_the_arrays_that_it_promises(examples, tmp_path):
    module = plugins.load("harness.data.sets", "stripes", "data set")
    facts = module.build(Data("stripes", SIDE, train_images=12, val_images=6), tmp_path)
    assert splits.splits(tmp_path) == ["train", "val"]
    train = splits.open_split(tmp_path, "train")
    assert train.images.dtype == np.uint8 and train.images.shape == (12, SIDE, SIDE, 3)
    assert set(train.labels) == set(range(len(facts["classes"]))) and train.images.std() > 20


def test_the_tokenizer_trains_and_counts_as_it_says(examples):
    e = experiment("patchwise")
    net, x = tokenizers.network(e.tokenizer, SIDE), images()
    posterior = net.encode(x)
    decoded = net.decode(posterior.sample(torch.zeros_like(posterior.mean)))
    assert posterior.mean.shape[1:] == e.latents[:2] and decoded.shape == x.shape
    assert e.latents.numbers == e.tokenizer.numbers
    decoded.square().mean().backward()
    gradients = [p.grad for p in (*net.decoder_parameters(), net.last_of_encoder)]
    assert all(g is not None and g.isfinite().all() and g.any() for g in gradients)
    assert sum(p.numel() for p in net.parameters()) == e.tokenizer_parameters


def test_the_generator_trains_and_counts_as_it_says(examples):
    size, form, classes = Transformer(width=32, depth=2, heads=2), Latents(8, 4), 10
    net = plugins.load("models.generators", "mixer", "generator").network(size, form, classes)
    y = torch.tensor([0, classes])
    velocity = net(images()[:2, 0].reshape(2, -1)[:, :32].view(2, 8, 4), torch.rand(2), y)
    velocity.square().mean().backward()
    assert velocity.shape == (2, 8, 4) and all(p.grad.isfinite().all() for p in net.parameters())
    assert sum(p.numel() for p in net.parameters()) == generators.parameters("mixer", size, form, classes, 0)
    assert generators.is_flow("mixer") and flops.drawing(experiment(generator__name="mixer")) > 0


def test_the_teacher_has_the_widths_that_it_promises(examples):
    known, x = teachers.teacher("edges"), images(2)
    features = known.load(4, MACHINE)(x)
    assert features.c.shape == (2, known.class_width) and features.p.shape == (2, 16, known.patch_width)
    assert features.s.shape == (2, 16) and known.weights().exists()
    assert flops.of_teacher(experiment(teacher="edges")) == 0


def test_the_study_can_be_requested_again_by_its_command(examples):
    request = new_request("mask_kinds", scale("smoke"), data="stripes")
    assert len(request.experiments()) == 4
    assert request.command.endswith(f"mask_kinds --scale smoke --data stripes --plugins {EXAMPLES}")


def test_a_space_of_ones_own_has_the_variants_of_plug_ins_that_came_later():
    before = [row.name for row in study_called("own").rows]
    found(EXAMPLES)
    later = [row.name for row in study_called("own").rows]
    assert set(later) - set(before) == {"gentle_masking", "patchwise"} and set(before) < set(later)
    request = new_request("own", scale("smoke"), rows=("gentle_masking",), space=("training.learning_rate=1e-3,2e-3",))
    assert [point.row for point in request.grid()] == ["gentle_masking"] * 2


# Keys


def test_no_key_of_ours_depends_on_plug_ins(examples):
    found(SPREAD)
    planned = {t.stage: t.key for t in tasks([experiment()])}
    assert set(planned) > OF_PLUGINS
    ours = {stage: key for stage, key in planned.items() if stage not in OF_PLUGINS}
    assert ours == {stage: GOLDEN[stage] for stage in ours}


def test_metrics_are_measured_by_the_stage_of_their_splits(tmp_path):
    assert not OF_PLUGINS & {t.stage for t in tasks([experiment()])}
    found(METRICS)
    assert OF_PLUGINS & {t.stage for t in tasks([experiment()])} == {"plugin_metrics"}
    assert plugin_metrics.of_table("reconstruction") == ["sharpness"]
    found(SPREAD)
    assert {t.stage for t in tasks([experiment()])} > OF_PLUGINS
    assert not OF_PLUGINS - {"plugin_metrics"} & {t.stage for t in tasks([experiment(generator__on=False)])}
    assert [plugin_metrics.of_table(table) for table in plugin_metrics.TABLES] == [["sharpness"], [], [], ["spread"]]


@pytest.mark.parametrize(
    ("name", "fields", "redone"),
    [
        ("patchwise", {"variant": "patchwise"}, "tokenizer"),
        ("edges", {"variant": "local_alignment", "teacher": "edges"}, "teacher_features"),
        ("mixer", {"generator__name": "mixer"}, "generator"),
        ("sharpness", {}, "plugin_metrics"),
    ],
)
def test_what_a_file_makes_is_made_again_when_the_file_changes(name, fields, redone, tmp_path):
    shutil.copytree(EXAMPLES, tmp_path / "mine")
    found(tmp_path / "mine")
    before = {t.stage: t for t in tasks([experiment(**fields)])}
    (tmp_path / f"mine/{name}.py").write_text((EXAMPLES / f"{name}.py").read_text() + "\n# changed\n")
    task.cache_clear()
    after = {t.stage: t for t in tasks([experiment(**fields)])}
    changed = {stage for stage in before if before[stage].key != after[stage].key}
    assert redone in changed
    assert all(stage == redone or changed & set(before[stage].inputs) for stage in changed)


def test_jobs_inherit_the_plug_ins(examples):
    assert code_copy.environment(ROOT)[plugins.VARIABLE] == str(EXAMPLES)


# What is broken

STUDY = "from harness.experiments.study import Ablation, Row\n"
BROKEN = {
    "no Python": ("study = (", "cannot be read as Python"),
    "an import": ("import no_such_module\nstudy = 1", "ModuleNotFoundError: No module named 'no_such_module'"),
    "an error": ("study = 1 / 0", "ZeroDivisionError: division by zero"),
    "an exit": ("import sys\nstudy = sys.exit(3)", "SystemExit: 3"),
    "no study": ("study = 3", "study: int is no Study"),
    "half a metric": ("title = 'x'\ndef measure(m): ...", "a metric also has to define protocol, about, unit"),
    "no dictionary": ("variants = [1]", "variants is a list, not a dictionary by name"),
    "no variant": ("variants = {'mine': 1}", "variants: int is no Variant"),
    "an endless sum": ("study = " + "-" * 100_000 + "1", "cannot be read as Python: "),
    "rows that are none": (f"{STUDY}study = Ablation('x', 'y', (3,))", "TypeError: rows hold a int"),
    "no rows": (f"{STUDY}study = Ablation('x', 'y', None)", "TypeError: rows is None"),
    "a number as a variant": (f"{STUDY}study = Ablation('x', 'y', (Row('a', 3),))", "TypeError: variant is 3"),
    "claims that are none": (f"{STUDY}study = Ablation('x', 'y', (), claims=(3,))", "TypeError: claims hold a int"),
    "a row twice": (f"{STUDY}study = Ablation('x', 'y', 2 * (Row('a', 'mactok'),))", "two rows are called a"),
    "a number as a name": (
        "from models.variants import *\nvariants = {3: VARIANTS['mactok']}",
        "3 is no name of a variant",
    ),
    "an escape": ("study = 1\nraise ValueError('\\x1b[31mred')", "ValueError: \\x1b[31mred"),
    "a known name": (
        "from models.variants import *\nvariants = {'mactok': VARIANTS['mactok']}",
        "a variant mactok already",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_draft_is_one_line_and_breaks_nothing_else(case, tmp_path, capsys):
    text, expected = BROKEN[case]
    (tmp_path / "a_draft.py").write_text(text)
    (tmp_path / "helper.py").write_text("VALUE = 3")  # no plug-in
    shutil.copy(METRICS, tmp_path)
    found(tmp_path)
    plugins.find()
    errors = capsys.readouterr().err
    assert errors.startswith(f"warning: {tmp_path}/a_draft.py") and errors.count("\n") == 1
    assert expected in errors and errors.endswith("it is left out\n")
    assert "sharpness" in plugins.names("harness.evaluation.metrics") and cli.listing()
    plugins.SEEN.clear()
    with pytest.raises(Mistake, match="a_draft"):
        plugins.find(study=tmp_path / "a_draft.py")


WRONG = [("sharpness", name) for name in ("title", "about", "unit", "better", "digits", "splits", "tables", "measure")]
WRONG += [("stripes", name) for name in ("revision", "about", "attribution", "recipe", "require", "build")]
WRONG += [("patchwise", name) for name in ("PARTS", "latents", "cost", "network")]
WRONG += [("mixer", name) for name in ("flow", "cost", "network")]


@pytest.mark.parametrize(("example", "name"), WRONG)
def test_a_name_of_another_type_is_one_line(example, name, tmp_path, capsys):
    text = (EXAMPLES / f"{example}.py").read_text().replace(f'"{example}"', '"draft"')
    (tmp_path / "draft.py").write_text(f"{text}\n{name} = None\n")
    found(tmp_path)
    errors = capsys.readouterr().err
    assert errors.startswith(f"warning: {tmp_path}/draft.py: {name} is None, no ") and errors.count("\n") == 1
    assert not plugins.USERS


@pytest.mark.parametrize("stem", ["two\nlines", "\x1b[31mred"])
def test_a_file_whose_name_would_break_pages_is_one_line(stem, tmp_path, capsys):
    shutil.copy(METRICS, tmp_path / f"{stem}.py")
    found(tmp_path)
    errors = capsys.readouterr().err
    assert "is no name of a metric" in errors and errors.count("\n") == 1 and not plugins.USERS


@pytest.mark.parametrize("bounds", ["None", "'ab'", "(0,)", "(1, 0)", "('a', 'b')"])
def test_the_bounds_of_a_metric_are_two_numbers(bounds, tmp_path, capsys):
    (tmp_path / "draft.py").write_text(f"{METRICS.read_text()}\nbounds = {bounds}\n")
    found(tmp_path)
    assert f"bounds is {bounds}, no pair of" in capsys.readouterr().err


def test_a_metric_says_which_side_is_better(tmp_path, capsys):
    (tmp_path / "draft.py").write_text(METRICS.read_text() + "\nbetter = 'up'\n")
    found(tmp_path)
    assert "better is 'up', none of 'higher', 'lower', ''; it is left out" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "wrong"), [("tables", "reconstructon"), ("splits", "vall"), ("tables", None)])
def test_a_metric_names_tables_and_splits_that_exist(name, wrong, tmp_path, capsys):
    (tmp_path / "draft.py").write_text(f"{METRICS.read_text()}\n{name} = ({wrong!r},)\n")
    found(tmp_path)
    errors = capsys.readouterr().err
    assert f"draft.py: {name} has {wrong!r}, none of '" in errors and errors.count("\n") == 1
    assert ("Did you mean" in errors) == (wrong is not None) and not plugins.USERS


def test_a_place_of_a_name_that_is_too_long_is_a_mistake(monkeypatch):
    monkeypatch.setenv(plugins.VARIABLE, "n" * 300)
    with pytest.raises(Mistake, match="is a name of 300 bytes"):
        plugins.find()


def test_what_is_no_file_is_no_plug_in(tmp_path, capsys):
    (tmp_path / "folder.py").mkdir()
    (tmp_path / "broken_link.py").symlink_to("nowhere")
    os.mkfifo(tmp_path / "waits_for_ever.py")
    shutil.copy(METRICS, tmp_path)
    found(tmp_path)
    assert list(plugins.USERS["harness.evaluation.metrics"]) == ["sharpness"] and not capsys.readouterr().err


def test_the_second_of_two_files_of_one_name_is_left_out(tmp_path, capsys):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        shutil.copy(METRICS, tmp_path / folder / "mine.py")
    found(tmp_path / "a", tmp_path / "b")
    left_out = f"warning: {tmp_path}/b/mine.py: there is a metric mine already; it is left out\n"
    assert capsys.readouterr().err == left_out
    assert plugins.USERS["harness.evaluation.metrics"]["mine"].__file__ == str(tmp_path / "a/mine.py")


def test_no_plug_in_gets_the_neighbour_of_another(tmp_path, capsys):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "plugin_helper.py").write_text(f"VALUE = {folder!r}\n")
        (tmp_path / folder / f"{folder}.py").write_text(f"import plugin_helper\n{METRICS.read_text()}")
    found(tmp_path / "one", tmp_path / "two")
    errors = capsys.readouterr().err
    assert f"two.py imports plugin_helper.py beside it, and {tmp_path}/one has a plugin_helper.py too" in errors
    assert list(plugins.USERS["harness.evaluation.metrics"]) == ["one"] and errors.count("\n") == 1


def test_what_a_file_prints_does_not_mix_with_the_output(tmp_path, capsys):
    (tmp_path / "mine.py").write_text(f"print('hello')\n{METRICS.read_text()}")
    found(tmp_path)
    assert capsys.readouterr() == ("", "hello\n")


def test_a_key_follows_what_a_file_imports_from_beside_it(tmp_path):
    package = "harness.evaluation.metrics"
    files = {"mine.py": f"import the_first\n{METRICS.read_text()}", "the_first.py": "def f():\n    import the_second"}
    for name, text in {**files, "the_second.py": "", "another.py": ""}.items():
        (tmp_path / name).write_text(text)
    found(tmp_path)
    before = plugins.code(package, "mine")
    (tmp_path / "another.py").write_text("# changed")
    assert plugins.code(package, "mine") == before
    (tmp_path / "the_second.py").write_text("# changed")
    assert plugins.code(package, "mine") != before


def test_a_study_needs_no_published_table():
    request = AblationRequest("mine", Ablation("Mine", "Why?", ()), scale("smoke"))
    assert request.study.published_table == "" and not request.experiments()


def ablate(
    *words: str, cwd: Path, code: int = 0, command: str = "ablate", **variables: str
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", f"harness.{command}", *words, "--quiet"],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done


@pytest.mark.parametrize(
    ("words", "expected"),
    {
        "--study nowhere.py": "nowhere.py is not there: a Python file or a folder of them is needed",
        "--study broken.py": "{}/broken.py fails: ZeroDivisionError: division by zero",
        "--study helper.py": "{}/helper.py has no study: study = Ablation(...) or study = Sweep(...)",
        "table5 --plugins absent": "absent is not there: a Python file or a folder of them is needed",
        "table5 --study mine.py": "--study mine.py and table5 are two studies. --help lists all options",
        "table5 --plugins": "argument --plugins: expected one argument. --help lists all options",
    }.items(),
)
def test_a_mistake_in_naming_plug_ins_is_one_line(words, expected, tmp_path):
    (tmp_path / "broken.py").write_text("study = 1 / 0")
    (tmp_path / "helper.py").write_text("")
    shutil.copy(EXAMPLES / "mask_kinds.py", tmp_path / "mine.py")
    done = ablate(*words.split(), "--dry-run", cwd=tmp_path, code=2)
    assert done.stderr == f"error: {expected.format(tmp_path)}\n"


def test_the_variable_and_installed_packages_name_plug_ins_too(tmp_path):
    site = tmp_path / "site"
    (site / "mine-1.0.dist-info").mkdir(parents=True)
    (site / "mine-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (site / "mine-1.0.dist-info/entry_points.txt").write_text(
        f"[{plugins.GROUP}]\nmine = mine_plugins\nlost = no_such_package\ncompiled = math\n"
        "broken = broken_package.plugins\n"
    )
    (site / "broken_package").mkdir()
    (site / "broken_package/__init__.py").write_text("raise RuntimeError('no luck')")
    shutil.copytree(EXAMPLES, site / "mine_plugins")
    path = os.pathsep.join([str(ROOT), str(site)])
    plan = ("mask_kinds", "--scale", "smoke", "--dry-run", "--details")
    done = ablate(*plan, cwd=tmp_path, PYTHONPATH=path)
    assert "plugin_metrics" in done.stdout
    lost = ("lost = no_such_package", "compiled = math", "broken = broken_package.plugins")
    ending = "cannot be found as Python files; it is left out\n"
    assert done.stderr == "".join(f"warning: the plug-in {point} {ending}" for point in lost)
    named = {plugins.VARIABLE: str(EXAMPLES)}
    assert "plugin_metrics" in ablate(*plan, cwd=tmp_path, **named).stdout


def test_claims_leave_out_a_study_that_cannot_be(tmp_path):
    text = "from harness.experiments.study import Ablation, Row\nfrom harness.experiments.claims import Difference\n"
    claim = "Difference('x', 'mine', 'psnr', 'a', 'b', side=+1)"
    rows = "Row('a', 'no_such_variant'), Row('b', 'mactok')"
    (tmp_path / "draft.py").write_text(f"{text}study = Ablation('x', 'y', ({rows}), claims=({claim},))\n")
    (tmp_path / "runs").mkdir()
    words = [sys.executable, "-m", "harness.claims", "--scale", "smoke", "--plugins", "draft.py"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "no results at smoke for the claims of collapse and" in done.stdout
    assert done.stderr.startswith("warning: draft is left out: unknown variant") and done.stderr.count("\n") == 1


# Runs


@pytest.mark.slow
def test_a_study_of_plug_ins_runs_in_several_processes(tmp_path):
    words = ["--study", str(EXAMPLES / "mask_kinds.py"), "--scale", "smoke", "--data", "stripes", "--workers", "2"]
    for place in (EXAMPLES, SPREAD):
        words += ["--plugins", str(place)]
    for setting in ("teacher=edges", "generator.on=true", "generator.name=mixer", "data.flip=false"):
        words += ["--set", setting]
    ablate(*words, "--rows", "semantic", cwd=tmp_path)
    page = next((tmp_path / "reports/out").glob("mask_kinds-smoke-stripes-*.md")).read_text()
    assert "sharpness (%) ↑" in page and "spread (%)" in page
    assert "ours beside the paper's" not in page
    assert re.search(r"\*\*sharpness\*\*, .* \(val", page) and re.search(r"\*\*spread\*\*, .* \(guided", page)
    assert "Data set `stripes`" in page and "- teacher: no network: edges" in page and "semantic masks help" in page
    run = next(iter(run for run in Store(tmp_path / "runs").runs() if run.stage == "latents"))
    assert all(np.load(path).shape[1] == 1 for path in run.folder.glob("train_mean*"))  # no mirror images


@pytest.mark.slow
def test_variants_and_a_tokenizer_of_users_are_rows_of_a_sweep(tmp_path):
    words = ["--plugins", str(EXAMPLES), "--space", "training.learning_rate=1e-3,2e-3", "--objective", "rfd"]
    words += ["--rows", "gentle_masking,patchwise", "--scale", "smoke"]
    ablate(*words, command="sweep", cwd=tmp_path)
    page = next((tmp_path / "reports/out").glob("*.md")).read_text()
    assert "| gentle_masking " in page and "| patchwise " in page


@pytest.fixture
def finished(runs: Path, tmp_path: Path) -> Path:
    """A copy of a store that was finished before any plug-in came."""
    return shutil.copytree(runs, tmp_path / "runs")


ROW = ("table5", "--scale", "smoke", "--rows", "mactok")


def test_a_metric_is_measured_on_a_finished_store_and_on_nothing_again(finished, tmp_path):
    before = {path: path.read_bytes() for path in finished.glob("*/*/result.json")}
    ablate(*ROW, "--plugins", str(METRICS), "--executor", "local", cwd=tmp_path)  # a job of its own
    page = next((tmp_path / "reports/out").glob("table5-smoke-*.md"))
    assert "sharpness (%) ↑" in page.read_text()
    after = {path: path.read_bytes() for path in finished.glob("*/*/result.json")}
    new = [path for path in after if path not in before]
    assert [path.parts[-3] for path in new] == ["plugin_metrics"] and {p: after[p] for p in before} == before
    ablate(*ROW, cwd=tmp_path)
    assert "sharpness" not in page.read_text()


def test_a_metric_that_fails_is_named_and_the_page_is_written(finished, tmp_path):
    (tmp_path / "mine.py").write_text(METRICS.read_text().replace("sums = [0.0, 0.0]", "sums = 1 / 0"))
    done = ablate(*ROW, "--plugins", "mine.py", cwd=tmp_path, code=1)
    assert "the metric mine fails on val: ZeroDivisionError: division by zero" in done.stderr
    assert "PSNR" in done.stdout
