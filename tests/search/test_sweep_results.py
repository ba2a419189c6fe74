"""Sweeps on a bowl whose optimum is known: places, best ones, fronts, rows, seeds and spaces of one's own."""

from __future__ import annotations

import re

import pytest

from harness.search.samplers import SAMPLERS
from tests.search.toy_sweep import PAGE, SWEEP, TRIALS, shown_trials

NEAR = {"grid": 0.0, "random": 0.06, "tpe": 0.005, "gp": 0.001, "cmaes": 0.01}  # squared distance to the optimum

# Where it is best


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_optimum_is_found(sampler, whole):
    trials = whole(sampler).trials()
    assert len(trials) == TRIALS[sampler]
    assert {state for state, _, _ in trials} == {"done"}
    assert len({place for _, place, _ in trials}) == len(trials)
    for _, (x, y), (value,) in trials:
        assert value == pytest.approx((x - 0.3) ** 2 + (y - 0.6) ** 2)
    assert min(value for _, _, (value,) in trials) <= NEAR[sampler]
    if sampler not in ("grid", "random"):
        # Ten places at random have 0.22 on average, and once in two hundred times less than this.
        assert sum(value for _, _, (value,) in trials[-10:]) / 10 < 0.1


def test_a_grid_is_every_place_once_and_the_same_command_has_nothing_to_do(whole, tmp_path):
    bowl = whole("grid").copy(tmp_path)
    grid = [(x, y) for x in (0.0, 0.3, 0.8) for y in (0.2, 0.6, 1.0)]
    assert [place for _, place, _ in bowl.trials()] == grid
    assert len(bowl.bowls()) == 9
    trials, statuses = bowl.trials(), {run.folder: (run.folder / "status.json").stat() for run in bowl.bowls()}
    output = bowl.done()
    assert shown_trials(output) == 9
    assert "best at M = 0.3, share = 0.6" in output
    assert bowl.trials() == trials
    assert {run.folder: (run.folder / "status.json").stat() for run in bowl.bowls()} == statuses


def test_every_trial_that_ends_is_told_on_one_line(bowl, forks):
    words = ["bowl", "--scale", "smoke", "--runs", str(bowl.runs), "--out", str(bowl.out), "--trials", "3"]
    ended = forks(SWEEP, *words)
    assert ended.code == 0
    assert "\r" not in ended.errors
    told = [line for line in ended.errors.splitlines() if line.startswith("trial ")]
    assert [line.partition(";")[0] for line in told] == [
        f"trial {number}, M = 0, share = {share:g}: rFD {value}"
        for number, (share, value) in enumerate([(0.2, 0.25), (0.6, 0.09), (1, 0.25)])
    ]
    assert "best so far M = 0, share = 0.6 with 0.09" in told[-1]
    assert [line.rpartition("; ")[2] for line in told] == [f"{n} of 3 trials have ended" for n in (1, 2, 3)]


# Two objectives


def test_two_objectives_have_a_front(bowl):
    bowl.done("--objective", "rfd,kl")
    page = bowl.page("bowl-smoke-rfd-kl")
    assert re.search(r"Pareto front.*: M = 0.3, share = 0.6; M = 0.8, share = 0.6\.\n", page)
    assert "best at **M = 0.3, share = 0.6**" in page
    assert "best at **M = 0.8, share = 0.6**" in page
    assert "(bowl-smoke-rfd-kl/front.png)" in page
    gates = page.split("5 of 5 gates not measured</summary>\n\n", 1)[1].partition("\n\n")[0].splitlines()
    assert [line.partition(":")[0] for line in gates if line] == ["- not measured"] * 5  # by the stage of the toy
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", page):
        assert (bowl.out / picture).stat().st_size > 5000, picture
    assert all(len(values) == 2 for _, _, values in bowl.trials("bowl-smoke-rfd-kl"))


# Rows and seeds


def test_rows_are_chosen_between(undrawn):
    words = ("--rows", "mactok,image_masking", "--objective", "rfd", "--space")
    shown = undrawn.done(*words, "masking.max_ratio=0.3,0.8", study="own")
    (page,) = undrawn.out.glob("*-*.md")
    # The masks of the one follow no object, and those of the other half of the time.
    places = [("image_masking", 0.3), ("image_masking", 0.8), ("mactok", 0.3), ("mactok", 0.8)]
    values = [(x - 0.3) ** 2 + (0.6 - {"image_masking": 0.0, "mactok": 0.5}[row]) ** 2 for row, x in places]
    trials = undrawn.trials(page.stem)
    assert [place for _, place, _ in trials] == places
    assert [value for _, _, (value,) in trials] == pytest.approx(values)
    for row in ("mactok", "image_masking"):
        assert f"best at {row}, masking.max_ratio = 0.3: " in shown
    undrawn.done(*words, "masking.max_ratio=0.1:0.3", "--sampler", "tpe", "--trials", "12", study="own")
    (page,) = set(undrawn.out.glob("*-*.md")) - {page}
    assert {row for _, (row, _), _ in undrawn.trials(page.stem)} == {"mactok", "image_masking"}


def test_several_seeds_are_a_mean_and_those_that_are_there_are_not_made_again(whole, tmp_path):
    bowl, page = whole("grid").copy(tmp_path), "bowl-smoke-rfd-2-seeds"
    before = bowl.outcomes()
    bowl.done("--seeds", "2")
    for (_, place, values), (_, place_before, values_before) in zip(bowl.trials(page), bowl.trials(), strict=True):
        assert place == place_before
        assert values == pytest.approx([values_before[0] + 0.01])  # 0.02 above it with the second seed
    made = bowl.outcomes()
    assert made.items() >= before.items()
    assert len(made) == len(before) + 9
    assert re.search(r"best at \*\*M = 0.3, share = 0.6\*\*: \S+\s(±\s|\[)", bowl.page(page))
    assert "means over 2 seeds" in bowl.page(page)
    assert set(tmp_path.glob("runs/asked/*")) == {tmp_path / f"runs/asked/{name}.json" for name in (PAGE, page)}


# Spaces of one's own


def test_a_space_needs_no_sweep(bowl):
    bowl.done("--space", "masking.max_ratio=0:0.9", "--objective", "rfd", "--trials", "3", study="")
    (page,) = bowl.out.glob("own-smoke-rfd-*.md")
    places = [place for _, place, _ in bowl.trials(page.stem)]
    assert len(places) == 3
    assert all(0 <= x <= 0.9 for (x,) in places)
    assert "masking.max_ratio = " in page.read_text()
    assert "--space masking.max_ratio=0:0.9" in page.read_text()


def test_a_space_takes_the_place_of_the_sweeps_own(bowl):
    bowl.done("--space", "masking.semantic_share=0.1,0.3")
    (page,) = bowl.out.glob("*-*.md")
    assert [place for _, place, _ in bowl.trials(page.stem)] == [(0.1,), (0.3,)]
    words = ("--space", "masking.semantic_share=0.01:1:log", "--space", "masking.max_ratio=0.1,0.3")
    bowl.done(*words, "--trials", "12")  # values beside a range: no grid, and tpe then
    (log,) = set(bowl.out.glob("*-*.md")) - {page}
    places = [place for _, place, _ in bowl.trials(log.stem)]
    assert {x for _, x in places} == {0.1, 0.3}
    assert all(0.01 <= share <= 1 for share, _ in places)
    assert sum(share < 0.1 for share, _ in places) >= 3  # half of them by ratios, a tenth of them evenly
    assert "log" in log.read_text()


def test_what_is_claimed_of_one_field_is_not_claimed_of_another(undrawn):
    undrawn.done("--space", "masking.semantic_share=0.1,0.3")
    (page,) = undrawn.out.glob("*-*.md")
    (claim,) = (line for line in page.read_text().splitlines() if "Claim (the toy)" in line)
    assert "**Not tested**" in claim
    assert "semantic_share" not in claim
