"""How much of the distance is the generator's: between N(0, I) and its decoder's floor, and in the latents."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pytest

from harness.evaluation.records import heading
from harness.store.runs import Store
from reports.ablation.generation import Generation
from reports.results import Result, load
from reports.statistics import intervals
from tests.reports.claimed import STUDIES, measured
from tests.reports.test_claims_command import experiments_of, make
from tests.reports.test_report import table

CLOSED, VELOCITY = "gap closed (%) ↑", "velocity error on val ↓"


def lines(results: Sequence[Result]) -> list[dict[str, str]]:
    shown = Generation(STUDIES["table5"], results).gap_table()
    return table(f"## here\n{shown}", "here")


def gap(prior: float, own: float, floor: float, seed: int = 0, row: str = "row") -> Result:
    sets = {"prior": prior, "samples": own, "reconstructions": floor}
    return measured(row, {("generation", split, "gfd"): value for split, value in sets.items()}, seed)


def test_the_three_distances_stand_side_by_side_without_guidance():
    numbers: Mapping[tuple[str, str, str], float] = {
        ("generation", "prior", "gfd"): 120.0,
        ("generation", "samples", "gfd"): 60.0,
        ("generation", "guided", "gfd"): 45.0,
        ("generation", "reconstructions", "gfd"): 40.0,
        ("generation", "samples", "latent_fd"): 3.3,
        ("generation", "prior", "latent_fd"): 8.25,
        ("generation", "samples", "two_sample"): 71.5,
        ("generation", "prior", "two_sample"): 99.0,
    }
    (line,) = lines([measured("row", numbers)])
    assert line == {
        "row": "row",
        "gFD of N(0, I)": "120.0",
        "gFD, unguided ↓": "60.0",
        "floor: of reconstructions": "40.0",
        CLOSED: "75",
        heading("latent_fd"): "3.30",
        "latent FD of N(0, I)": "8.25",
        heading("two_sample"): "71.5",
        "two-sample accuracy of N(0, I)": "99.0",
        VELOCITY: "–",
    }


@pytest.mark.parametrize(
    ("prior", "own", "floor", "closed"),
    [
        (120.0, 40.0, 40.0, "100"),
        (120.0, 120.0, 40.0, "0"),
        (120.0, 140.0, 40.0, "-25"),  # worse than no generator
        (120.0, 32.0, 40.0, "110"),  # better than what it learns from
        (40.0, 60.0, 40.0, "–"),  # nothing to close
        (30.0, 60.0, 40.0, "–"),
    ],
)
def test_the_share_that_is_closed_by_hand(prior, own, floor, closed):
    assert lines([gap(prior, own, floor)])[0][CLOSED] == closed


def test_the_share_is_that_of_every_seed():
    """Not of the mean distances, which would make it 71 %."""
    seeds = [gap(120.0, 60.0, 40.0, 0), gap(400.0, 220.0, 100.0, 1), gap(200.0, 100.0, 100.0, 2)]
    (line,) = lines(seeds)
    assert line[CLOSED] == intervals.shown([75.0, 60.0, 100.0], 0)
    (line,) = lines([*seeds, measured("row", {("generation", "samples", "gfd"): 1.0}, 3)])
    assert line[CLOSED] == intervals.shown([75.0, 60.0, 100.0], 0)


def test_rows_have_a_line_each_and_what_is_missing_a_dash():
    (first, second) = lines([gap(120.0, 60.0, 40.0), measured("other", {("generation", "prior", "gfd"): 90.0})])
    assert (first["row"], first[CLOSED]) == ("row", "75")
    assert (second["row"], second["gFD of N(0, I)"], second[CLOSED]) == ("other", "90.0", "–")


def test_the_velocity_error_is_the_last_one_that_was_measured(tmp_path):
    store, row, ends = Store(tmp_path), STUDIES["table5"].row("+ random mask"), (1.25, 1.5)
    seeds = experiments_of(row.name, 3)
    made = [
        make("generator", of, store, val__velocity=[2.0, end, math.nan])  # the last one has not run
        for of, end in zip(seeds, ends, strict=False)
    ]
    (line,) = lines(load({row: seeds}, store))
    assert line[VELOCITY] == intervals.shown(ends, 3)
    made[0].set_state("running")  # an unfinished curve has no end
    (line,) = lines(load({row: seeds}, store))
    assert line[VELOCITY] == "1.500"
