"""Where noise comes from: components of variance, and generators and samples that are repeated."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from harness.experiments.requests import AblationRequest, study_called
from harness.experiments.scales import scale
from harness.experiments.seeds import MOST_SEEDS
from harness.experiments.stored_requests import request_from_json
from harness.planning.task import task
from harness.store.records import Record
from harness.store.runs import Store
from harness.system.errors import Mistake
from reports.ablation.noise import Noise
from reports.results import load
from reports.statistics.components import Components, components
from tests.reports.test_claims_command import make

ROWS, SEEDS = 6, 4


def nested(rng: np.random.Generator, deviations: tuple[float, ...], generators: int, draws: int) -> dict:
    """Values of rows by the seeds of tokenizer, generator and samples."""
    common, tokenizer, generator, samples = deviations
    of_seed = rng.normal(0, common, (1, SEEDS, 1, 1)) + rng.normal(0, tokenizer, (ROWS, SEEDS, 1, 1))
    table = of_seed + rng.normal(0, generator, (ROWS, SEEDS, generators, 1))
    table = 100 + table + rng.normal(0, samples, (ROWS, SEEDS, generators, draws))
    return {
        str(r): {s: {g: dict(enumerate(of)) for g, of in enumerate(b)} for s, b in enumerate(a)}
        for r, a in enumerate(table.tolist())
    }


def test_components_come_out():
    rng, true = np.random.default_rng(0), (8.0, 4.0, 2.0, 1.0)
    found = [components(nested(rng, true, 3, 3)) for _ in range(300)]
    for name, deviation in zip(("common", "tokenizer", "generator", "samples"), true, strict=True):
        assert np.mean([getattr(f, name) for f in found]) == pytest.approx(deviation**2, rel=0.1), name


def test_what_is_not_repeated_counts_to_the_part_before():
    rng, true = np.random.default_rng(0), (8.0, 4.0, 3.0, 0.0)
    once = [components(nested(rng, true, 1, 1)) for _ in range(300)]
    assert {(f.generator, f.samples) for f in once} == {(None, None)}
    assert np.mean([f.tokenizer for f in once]) == pytest.approx(25.0, rel=0.1)
    twice = [components(nested(rng, true, 2, 1)) for _ in range(300)]
    assert np.mean([f.tokenizer for f in twice]) == pytest.approx(16.0, rel=0.1)
    assert np.mean([f.generator for f in twice]) == pytest.approx(9.0, rel=0.1)


def test_the_error_is_that_of_a_difference():
    rng = np.random.default_rng(1)
    studies = [nested(rng, (8.0, 4.0, 2.0, 0.0), 2, 1) for _ in range(2000)]
    means = [
        [np.mean([[list(g.values()) for g in s.values()] for s in study[r].values()]) for r in "01"]
        for study in studies
    ]
    parts = Components(64.0, 16.0, 4.0, None, ROWS, SEEDS, 2, 1)
    assert np.std([a - b for a, b in means]) == pytest.approx(parts.error(SEEDS, 2), rel=0.05)


def test_incomplete_studies_have_no_components():
    whole = nested(np.random.default_rng(0), (1.0, 1.0, 1.0, 1.0), 2, 1)
    assert components({}) is None
    assert components({"0": whole["0"]}) is None
    assert components({row: {0: seeds[0]} for row, seeds in whole.items()}) is None
    del whole["1"][2][1]
    assert components(whole) is None


# Generators and samples that are repeated


def request(**fields: int) -> AblationRequest:
    return AblationRequest(
        "table5", study_called("table5"), scale("smoke"), rows=("KL-VAE", "latent masking"), **fields
    )


def test_repeats_share_their_tokenizer_and_rows_share_their_seeds():
    asked = request(seeds=2, generator_seeds=3, sampling_seeds=2)
    of_rows = list(asked.experiments().values())
    assert {len(of_row) for of_row in of_rows} == {12}
    seeds = [[(e.seed, e.seed_of_generator, e.seed_of_samples) for e in of_row] for of_row in of_rows]
    assert seeds[0] == seeds[1]
    assert [s[:2] for s in seeds[0][:4]] == [(0, 0), (0, 0), (0, MOST_SEEDS), (0, MOST_SEEDS)]
    assert len({s[2] for s in seeds[0]}) == 12
    keys = {
        stage: {task(stage, e).key for e in of_rows[0]} for stage in ("tokenizer", "latents", "generator", "samples")
    }
    assert {stage: len(found) for stage, found in keys.items()} == {
        "tokenizer": 2,
        "latents": 2,
        "generator": 6,
        "samples": 12,
    }
    alone = request(seeds=2).experiments()
    assert [of_row[0] for of_row in of_rows] == [of_row[0] for of_row in alone.values()]  # the first are as before


def test_a_request_with_repeats_is_recorded_whole():
    for asked in (request(generator_seeds=2), request(sampling_seeds=3), request(max_seeds=8), request()):
        assert request_from_json(asked.to_json()) == asked
    assert "--generator-seeds 2" in request(generator_seeds=2).command
    assert "--until-decided --max-seeds 8" in request(max_seeds=8).command
    assert set(request().to_json()) == set(request(generator_seeds=2).to_json()) - {"generator_seeds"}


def test_generators_of_rows_that_have_none_are_refused():
    with pytest.raises(Mistake, match="no row has a generator"):
        request(generator_seeds=2, fields=(("generator.on", "false"),)).experiments()


def test_numbers_of_generation_are_means_over_repeats(tmp_path):
    store, asked = Store(tmp_path), request(seeds=2, generator_seeds=2)
    rng = np.random.default_rng(0)
    given = {}
    for row, of_row in asked.experiments().items():
        for e in of_row:
            value = given[row.name, e.seed, e.seed_of_generator] = float(rng.normal(100, 5))
            make("generation", e, store, [Record("gfd", value, 160, 40, "guided", "")])
            make(
                "evaluation", e, store, [Record("rfd", 7.0 + e.seed, 128, 40, "val", "")]
            ) if e.generator_seed is None else None
    results = load(asked.experiments(), store)
    assert [(r.row.name, r.experiment.seed, len(r.repeats)) for r in results] == [
        (name, seed, 1) for name in ("KL-VAE", "latent masking") for seed in (0, 1)
    ]
    for r in results:
        own = [v for (name, seed, _), v in given.items() if (name, seed) == (r.row.name, r.experiment.seed)]
        assert r.value("gfd", "guided", "generation").value == pytest.approx(np.mean(own))
        assert r.value("rfd").value == 7.0 + r.experiment.seed
    noise = Noise(results, [("gfd", "guided", "generation"), ("rfd", "val", "evaluation")])
    assert noise.parts["gfd"].generator == pytest.approx(
        np.mean(
            [np.var([v for (n, s, _), v in given.items() if (n, s) == key], ddof=1) for key in {k[:2] for k in given}]
        )
    )
    assert noise.parts["rfd"].generator is None
    gone = dataclasses.replace(asked, generator_seeds=3)
    assert all(r.state.startswith(("not run", "evaluation")) for r in load(gone.experiments(), store))
