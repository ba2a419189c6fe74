"""The command `harness.claims` judges what the store holds and changes nothing in it."""

from __future__ import annotations

import dataclasses
import json
import random
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from scipy import stats

from harness import claims
from harness.experiments.experiment import Experiment
from harness.experiments.fields import with_fields
from harness.experiments.requests import AblationRequest, SweepRequest
from harness.experiments.scales import scale
from harness.planning.task import task
from harness.store.records import Record
from harness.store.runs import Run, Store
from harness.system.errors import Mistake
from reports.claims.quantities import quantity
from reports.results import load
from reports.statistics import intervals
from tests.commands.test_cli import command
from tests.reports.claimed import (
    CLAIMED,
    STEP,
    STUDIES,
)


def judged(runs: Path, capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, object]]:
    assert claims.main([*words, "--runs", str(runs), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def of_claims(found: Sequence[Mapping[str, object]], study: str) -> dict[str, Mapping[str, object]]:
    return {str(line["claim"]): line for line in found if line["study"] == study}


def contents(place: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in place.rglob("*")}


def make(stage: str, of: Experiment, store: Store, records: Sequence[Record] = (), **curves: Sequence[float]) -> Run:
    """A finished run without work; `curves` are logged, `__` in their names for the stroke."""
    planned = task(stage, of)
    run = planned.run_in(store)
    run.begin(planned.identity, {})
    for step, values in enumerate(zip(*curves.values(), strict=True)):
        run.curves.log(STEP * step, {name.replace("__", "/"): v for name, v in zip(curves, values, strict=True)})
    run.finish(list(records), {})
    return run


def experiments_of(row: str, seeds: int, at: str = "smoke") -> list[Experiment]:
    request = AblationRequest("table5", STUDIES["table5"], scale(at), seeds=seeds)
    return request.experiments()[request.study.row(row)]


def collapsing(store: Store, seeds: int = 3, at: str = "smoke") -> list[Run]:
    """The plain KL-VAE of Table 5, whose latents collapse, and one that keeps them."""
    made = []
    for seed in range(seeds):
        ends = {"KL-VAE": (0.2 * seed, 0.02 * seed), "+ random mask": (17.0 - 0.1 * seed, 0.9 - 0.01 * seed)}
        for row, (kl, used) in ends.items():
            of = experiments_of(row, seeds, at)[seed]
            made.append(make("tokenizer", of, store, val__kl=[0.0, 20.0, kl], val__shuffled_error=[0.0, 1.0, used]))
    return made


def test_on_an_empty_store_all_claims_of_all_studies_have_no_data(tmp_path, capsys):
    found = judged(tmp_path, capsys)
    assert [(line["study"], line["claim"]) for line in found] == [(n, claim.says) for n, claim in CLAIMED.values()]
    assert {(line["verdict"], line["alone"], line["n"], line["p"]) for line in found} == {
        ("no data", "no data", 0, None)
    }
    assert not list(tmp_path.iterdir())


def test_without_results_it_is_said_what_to_run(tmp_path, capsys):
    headed = [name for name, study in STUDIES.items() if study.claims]
    for more in ([], ["--details"]):
        assert claims.main(["--runs", str(tmp_path), *more]) == 0
        line, following = capsys.readouterr().out.splitlines()
        assert line.endswith(
            f"has no results at scales above smoke for the claims of {headed[0]} and {len(headed) - 1} more studies."
        )
        assert following.startswith("next: python -m harness.")
        assert following.endswith(f" {headed[0]} --scale tiny --runs {tmp_path}")
    assert claims.main(["table6b", "guidance", "--runs", str(tmp_path)]) == 0
    none, line, following = capsys.readouterr().out.splitlines()
    assert none == "There are no claims about guidance."
    assert line.endswith("has no results at scales above smoke for the claims of table6b.")
    assert following == f"next: python -m harness.ablate table6b --scale tiny --runs {tmp_path}"
    assert not list(tmp_path.iterdir())


def test_a_summary_a_study_and_a_table_by_details(tmp_path, capsys):
    collapsing(Store(tmp_path))
    words = ["table5", "--scale", "smoke", "--runs", str(tmp_path)]
    assert claims.main(words) == 0
    first, last = capsys.readouterr().out.splitlines()
    assert first.startswith("table5 at smoke: Of 15 claims ")
    assert last.startswith("--details ")
    assert claims.main([*words, "--details"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("table5 at smoke\n\nclaim ") and "Detectable" in text
    assert text.endswith(f"\n{first}\n")


MISTAKES = {
    "no store": (["--runs", "nowhere"], "no store at nowhere"),
    "study": (["tabel5"], "Did you mean 'table5'.*Choices: .*table6b"),
    "another study": (["table5", "table10"], "unknown study 'table10'.*Choices: "),
    "scale": (["--scale", "tinny"], "Did you mean 'tiny'.*Choices: smoke, tiny"),
    "data": (["--data", "embeded"], "Did you mean 'embedded'"),
    "option": (["--jsn"], "Did you mean '--json'"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words, expected = MISTAKES[case]
    (tmp_path / "runs").mkdir()
    with pytest.raises(Mistake, match=expected):
        claims.main(words)
    assert [path.name for path in tmp_path.rglob("*")] == ["runs"]


def test_a_mistake_is_one_line_and_exit_code_2(tmp_path):
    done = command("harness.claims", "table5", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: no store at runs: --runs names its folder\n"
    assert not list(tmp_path.iterdir())


def test_claims_are_judged_without_torch(tmp_path):
    collapsing(Store(tmp_path))
    code = "import sys, harness.claims as c; c.main(sys.argv[1:]); sys.exit('torch' in sys.modules)"
    words = ["table5", "table4", "mask_ratio", "kl_weight", "--scale", "smoke", "--runs", str(tmp_path), "--json"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "holds" in {line["verdict"] for line in json.loads(done.stdout)}


def test_what_the_store_holds_is_judged_over_all_its_seeds(tmp_path, capsys):
    store = Store(tmp_path)
    collapsing(store)
    for seed, (worse, better) in enumerate(((100.0, 80.0), (120.0, 99.0))):  # of two of the three seeds
        for row, gfd in (("+ random mask", worse), ("+ local alignment", better)):
            make("generation", experiments_of(row, 2)[seed], store, [Record("gfd", gfd, 160, 40, "guided", "")])
    for seed in range(3):
        for row, kl in (("KL-VAE", 0.2 * seed), ("+ random mask", 17.0 - 0.1 * seed)):
            nats = [
                Record(name, value, 128, 40, "val", "") for name, value in (("kl", kl), ("linear_gaussian_kl", 34.0))
            ]
            make("evaluation", experiments_of(row, 3)[seed], store, nats)
    before = contents(tmp_path)
    found = of_claims(judged(tmp_path, capsys, "table5", "--scale", "smoke"), "table5")
    assert contents(tmp_path) == before
    assert {line["scale"] for line in found.values()} == {"smoke"}
    verdicts = {claim: (line["verdict"], line["n"]) for claim, line in found.items() if line["n"]}
    assert verdicts == {
        "the plain KL-VAE collapses": ("holds", 3),
        "the plain KL-VAE ends far below a linear model": ("holds", 3),
        "image masking prevents collapse": ("holds", 3),
        "image masking keeps more than the plain KL-VAE": ("holds", 3),
        "local alignment lowers gFID": ("undecided", 2),  # the third seed is missing
    }
    kept = found["the plain KL-VAE collapses"]["here"]
    assert kept.startswith(
        "share of the maximal information left at the end 0.00 [0.00, 0.02], claimed < 0.1, met by 3 of 3 seeds"
    )
    share = found["image masking keeps more than the plain KL-VAE"]["here"]
    assert share == "KL as a share of the linear-Gaussian KL +0.49 ± 0.02"
    gfd = found["local alignment lowers gFID"]
    assert gfd["paper"] == "-2.48 (-41.3%)"
    assert gfd["p"] == pytest.approx(stats.ttest_1samp([-20.0, -21.0], 0).pvalue)
    assert gfd["here"].startswith("gFD -20.5 ± 6.4 (-18.6%)")
    assert (gfd["alone"], gfd["asked"], len(gfd["without"])) == ("holds", 3, 2)
    assert all(line.endswith("not run") for line in gfd["without"])
    primary = [line for line in found.values() if line["family"] == "primary"]
    for line, p in zip(primary, intervals.holm([line["p"] for line in primary]), strict=True):
        assert line["adjusted"] == p
    assert claims.main(["table5", "--scale", "smoke", "--runs", str(tmp_path), "--details"]) == 0
    told = capsys.readouterr().out
    assert told.count(" holds ") >= 4
    assert re.search(
        r"^table5 at smoke: Of 15 claims 4 are decided, 1 is undecided, 10 have no data", told, re.MULTILINE
    )


def test_a_result_that_is_damaged_is_named(tmp_path, capsys):
    store = Store(tmp_path)
    collapsing(store)
    words = ["table5", "--scale", "smoke", "--runs", str(tmp_path)]
    assert claims.main(words) == 0
    assert capsys.readouterr().err == ""
    run = next(run for run in store.runs() if run.state == "done" and run.stage == "tokenizer")
    (run.folder / "result.json").write_text("{}")
    assert claims.main(words) == 0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert f"is judged without its tokenizer {run.key}, which is damaged" in lines[0]


def test_smoke_is_left_out_unless_it_is_named(tmp_path, capsys):
    collapsing(Store(tmp_path))
    assert {line["scale"] for line in judged(tmp_path, capsys, "table5")} == {"tiny"}
    assert {line["verdict"] for line in judged(tmp_path, capsys, "table5")} == {"no data"}
    collapsing(Store(tmp_path), at="tiny")
    found = of_claims(judged(tmp_path, capsys), "table5")
    assert found["the plain KL-VAE collapses"]["verdict"] == "holds"


def test_another_data_set_has_results_of_its_own(tmp_path, capsys):
    collapsing(Store(tmp_path))
    for data, verdict in {"embedded": "holds", "embedded:objects=2": "no data"}.items():
        found = of_claims(judged(tmp_path, capsys, "table5", "--scale", "smoke", "--data", data), "table5")
        assert found["the plain KL-VAE collapses"]["verdict"] == verdict


def test_a_training_that_has_not_ended_proves_no_collapse(tmp_path, capsys):
    runs = [run for run in collapsing(Store(tmp_path)) if run.state == "done"]
    for run in runs[2:]:
        run.set_state("running")
    found = of_claims(judged(tmp_path, capsys, "table5", "--scale", "smoke"), "table5")["the plain KL-VAE collapses"]
    assert (found["verdict"], found["n"]) == ("undecided", 1)
    results = load({STUDIES["table5"].row("KL-VAE"): experiments_of("KL-VAE", 3)}, Store(tmp_path))
    assert [quantity(r, "information_kept") is None for r in results] == [False, True, True]


def test_the_seeds_are_those_of_any_row(tmp_path):
    store = Store(tmp_path)
    request = AblationRequest("table5", STUDIES["table5"], scale("smoke"))
    assert claims.seeds_in(request, store) == 0
    runs = collapsing(store, seeds=3)
    assert claims.seeds_in(request, store) == 3
    runs[2].set_state("failed", "disk full")  # of one row
    assert claims.seeds_in(request, store) == 3
    runs[3].set_state("failed", "disk full")
    assert claims.seeds_in(request, store) == 1


def test_the_grid_of_a_sweep_is_judged_where_it_is_all_there(tmp_path, capsys):
    store, study = Store(tmp_path), STUDIES["mix_ratio"]
    request = SweepRequest("mix_ratio", study, scale("tiny"), seeds=2)
    drawn = random.Random(0)
    for point in request.grid():
        share = point.values[0][1]
        for of in request.experiments_of(point):
            make("tokenizer", of, store, val__kl=[0.0, 20.0], val__shuffled_error=[0.0, 1.0])
            gfd = 100 + 50 * (share != 0.5) + drawn.random()
            if share < 1 or of.seed:
                make("generation", of, store, [Record("gfd", gfd, 2048, 800, "samples", "")])
    found = of_claims(judged(tmp_path, capsys), "mix_ratio")
    (line,) = found.values()
    assert (line["scale"], line["verdict"], line["n"], line["paper"]) == ("tiny", "undecided", 1, "0.5")
    assert "the truth may be at 0.5 (" in line["here"]  # and one value has one seed
    assert len(line["without"]) == 1  # one seed of one point
    (line,) = of_claims(judged(tmp_path, capsys, "mix_ratio", "--data", "embedded:objects=2"), "mix_ratio").values()
    assert line["verdict"] == "no data"


def test_fields_of_rows_are_multiples_of_what_the_data_and_the_scale_say():
    request = AblationRequest("table3", STUDIES["table3"], scale("tiny"), rows=("MacTok-128", "MacTok-64"))
    (full,), (half,) = request.experiments().values()
    assert full.tokenizer.tokens == 2 * half.tokenizer.tokens == scale("tiny").experiment.tokenizer.tokens
    request = dataclasses.replace(request, fields=(("training.steps", "900"),))
    assert [of.training.steps for (of,) in request.experiments().values()] == [900, 900]
    with pytest.raises(Mistake, match="in one field"):  # a number for all rows leaves nothing to compare
        dataclasses.replace(request, fields=(("tokens", "8"),)).experiments()
    assert with_fields(full, {"tokenizer.tokens": half.tokenizer.tokens}) == half
