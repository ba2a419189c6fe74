"""Tables that grow until their claims are decided."""

from __future__ import annotations

import json

import pytest

from harness import ablate, benchmark, cli, report, sweep
from harness.experiments.seeds import looks
from harness.system.errors import Mistake
from tests.commands.stores import filled, request_of
from tests.commands.test_next import options_of

MISTAKES = {
    "no growth": (["--max-seeds", "5"], "--max-seeds ends what --until-decided begins"),
    "two numbers": (["--until-decided", "--seeds", "3"], "--max-seeds instead of --seeds"),
    "one seed": (["--until-decided", "--max-seeds", "1"], "fewer than 2 seeds"),
    "many": (["--until-decided", "--max-seeds", "101"], "101 times: --yes"),
    "too many": (["--until-decided", "--max-seeds", "10001", "--yes"], "at most 10,000"),
    "no generators": (["--generator-seeds", "0"], "--generator-seeds 0: at least 1"),
    "many samples": (["--sampling-seeds", "101"], "--sampling-seeds 101: at least 1, at most 100"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes(case, tmp_path):
    words, expected = MISTAKES[case]
    with pytest.raises(Mistake, match=expected):
        ablate.main(["table5", "--scale", "smoke", "--runs", str(tmp_path / "runs"), *words])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "main",
    [lambda words: ablate.main(["transfer", *words]), lambda words: benchmark.main(["--rows", "KL-VAE", *words])],
)
def test_a_study_without_claims_does_not_grow(main, tmp_path):
    with pytest.raises(Mistake, match="has no claim that seeds could decide: --seeds N"):
        main(["--scale", "smoke", "--runs", str(tmp_path / "runs"), "--until-decided"])
    assert not list(tmp_path.iterdir())


def test_a_sweep_has_no_such_option(tmp_path, capsys):
    with pytest.raises((Mistake, SystemExit)):
        sweep.main(["collapse", "--until-decided", "--runs", str(tmp_path / "runs")])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("seeds", [0, 1, 3, 4, 5, 8])
def test_a_report_shows_all_looks_of_which_the_store_has_results(seeds, tmp_path):
    """Also if the store took them from text, and remembers no request."""
    filled(tmp_path, *([request_of(seeds=seeds)] if seeds else []), remembering=False)
    words = ["table5", "--scale", "smoke", "--rows", "mactok", "--until-decided", "--runs", str(tmp_path)]
    shown = cli.plan_from(options_of(*words)).request.seeds
    assert shown == max((look for look in looks(8) if look <= seeds), default=looks(8)[0])


@pytest.mark.slow
def test_a_table_grows_by_its_looks_and_is_told_again_from_the_store(tmp_path, capsys):
    words = ["table5", "--scale", "smoke", "--rows", "KL-VAE,latent masking", "--set", "generator.on=false"]
    words += ["--set", "training.steps=10"]
    words += ["--until-decided", "--max-seeds", "4", "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
    assert ablate.main([*words, "--quiet"]) == 0
    told = capsys.readouterr().out
    (record,) = (tmp_path / "runs/asked").glob("*.json")
    content = json.loads(record.read_text())["content"]
    assert content["max_seeds"] == 4
    assert content["seeds"] in looks(4)
    assert told.count(".md") == looks(4).index(content["seeds"]) + 1
    (page,) = (tmp_path / "out").glob("*-*.md")
    text = page.read_text()
    assert "planned looks at 3, 4 seeds" in text
    assert "--until-decided --max-seeds 4" in text
    assert report.main(words) == 0
    assert page.read_text() == text
