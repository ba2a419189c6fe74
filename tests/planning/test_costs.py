"""What a plan is told to take, and that a plan that takes too much is refused before anything is written."""

from __future__ import annotations

import math
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness import ablate, sweep
from harness.execution.executors import inline
from harness.experiments.fields import flat
from harness.planning import costs
from harness.planning.cluster import Cluster
from harness.planning.costs import plan_text, require_disk, require_gpu_hours
from harness.planning.durations import Durations
from harness.planning.gpus import GPUS, Pace
from harness.planning.task import Task, size_of, tasks
from harness.store.runs import Store
from harness.system.errors import Mistake
from harness.system.files import write_json
from reports.ablation import page
from tests.conftest import experiment

LARGE = {
    f"generator__{name}": n for name, n in (("size__width", 4096), ("size__depth", 64), ("training__steps", 10**8))
}
CLUSTER = Cluster({"default": {"gpus": 1, "hours": 2, "timeouts": 3}, "generator": {"processes": 8, "hours": 24}})


def planned(**fields: object) -> list[Task]:
    return tasks([experiment("mactok", **fields), experiment("kl_vae", **fields)])


def text(root: Path, some: list[Task], cluster: Cluster = CLUSTER, times: int = 1, details: bool = True) -> str:
    return plan_text(some, dict.fromkeys(some, "rows"), Store(root), cluster, Pace(), times, details)


def totals(shown: str) -> dict[str, str]:
    """The lines below the number of stages, by their names."""
    below = shown[shown.index(" stages to run") :].splitlines()[1:]
    return dict(line.strip().split("  ", 1) for line in below if line.startswith("  "))


def flops(some: list[Task], stage: str) -> list[float]:
    return [t.module.size(t.experiment).flops for t in some if t.stage == stage]


def line(shown: str, *beginning: str) -> list[str]:
    """The cells of the one line of a table that begins so."""
    rows = [re.split(r"\s{2,}", line.strip()) for line in shown.splitlines()]
    (found,) = [cells for cells in rows if cells[: len(beginning)] == list(beginning)]
    return found


def end(run, state: str) -> None:
    run.begin({}, {})
    run.end(state, "made up")


def hours_of(some) -> float:
    return sum(Pace().hours(t.module.size(t.experiment).flops, t.stage) for t in some)


def test_a_stage_is_told_with_all_its_jobs(tmp_path):
    some = planned(**LARGE)
    hours = [Pace().hours(f, "generator") for f in flops(some, "generator")]
    assert len(hours) == 2 and min(hours) > 1000
    _, _, eflops, gpu_hours, a_job, _, _, after = line(text(tmp_path, some), "2", "generator")
    assert float(gpu_hours.replace(",", "")) == pytest.approx(sum(hours), rel=0.01)
    assert float(a_job.replace(",", "")) == pytest.approx(max(hours) / 8, rel=0.01)  # of the 8 GPUs of its processes
    assert float(eflops.replace(",", "")) == pytest.approx(sum(flops(some, "generator")) / 1e18, rel=0.01)
    assert after == "data, latents"


def test_tasks_side_by_side_are_one_job_that_takes_no_longer_than_one_after_another(tmp_path):
    some = planned(**LARGE)
    hours = [Pace().hours(f, "generator") for f in flops(some, "generator")]
    cluster = Cluster({"default": {"gpus": 1}, "generator": {"together": 2}})
    *_, a_job, _, _, _ = line(text(tmp_path, some, cluster), "1", "generator")
    assert float(a_job.replace(",", "")) == pytest.approx(sum(hours), rel=0.01)


def number(text: str, unit: str) -> float:
    (found,) = re.findall(rf"([\d,.]+) {unit}", text)
    return float(found.replace(",", ""))


@pytest.mark.parametrize("times", [1, 24])
def test_the_total_counts_jobs_flops_hours_samples_and_disk(times, tmp_path):
    some = planned(**LARGE)
    shown = text(tmp_path, some, times=times, details=False)
    sizes = [t.module.size(t.experiment) for t in some]
    often = "" if times == 1 else ", 24 times"
    assert shown.startswith(f"{len(some)} of {len(some)} stages to run{often} (--details names them):\n")
    found = totals(shown)
    assert number(found["compute"], "EFLOPs") == pytest.approx(times * sum(s.flops for s in sizes) / 1e18, rel=0.01)
    assert number(found["compute"], "GPU-hours") == pytest.approx(times * hours_of(some), rel=0.01)
    assert "on one H100 SXM at the MFU measured on an H100 (2026" in found["compute"]
    assert found["samples"].strip() == f"{times * sum(s.samples for s in sizes):,} generated images"
    sampling = some[-1].experiment.sampling
    assert sum(s.samples for s in sizes) == 2 * (2 * sampling.images + 20 * sampling.curve_images)  # 20 moments
    assert f"{times * sum(s.bytes for s in sizes) / 2**30:.2f} GiB of" in found["disk"]
    assert "unknown" in found["time"]


def test_the_time_is_that_of_earlier_runs(tmp_path, monkeypatch):
    some, store = planned(), Store(tmp_path)
    first = next(t for t in some if t.stage == "tokenizer")
    units = first.module.size(first.experiment).units
    run = first.run_in(store)
    run.begin({}, {"scale": "smoke"})
    began = run.status()["attempts"][0]["began"]
    monkeypatch.setattr("time.time", lambda: began + 600)
    run.finish([], {"units": 2 * units})
    found = totals(text(tmp_path, some, details=False))
    assert found["time"].strip().startswith("5 min by earlier runs, one stage at a time; ")  # the other tokenizer's
    assert f"{len(some) - 2} stages unknown" in found["time"]


def finished(task: Task, store: Store, seconds: float, monkeypatch, host: str = "") -> None:
    """The run of a task, as if it had taken so long; it came as text from `host` if that is named."""
    run = task.run_in(store)
    run.begin(task.identity, {"scale": "smoke", "host": host})
    write_json(run.folder / "experiment.json", flat(task.experiment))
    if not host:
        (run.folder / "weights").touch()
    began = run.status()["attempts"][0]["began"]
    with monkeypatch.context() as patch:
        patch.setattr("time.time", lambda: began + seconds)
        run.finish([], {"units": size_of(task).units})


def tokenizer_task(variant: str, seed: int = 0) -> Task:
    return next(t for t in tasks([experiment(variant, seed=seed)]) if t.stage == "tokenizer")


def test_the_time_of_a_stage_that_never_ran_follows_its_flops(tmp_path, monkeypatch):
    store, plain, large = Store(tmp_path), tokenizer_task("kl_vae"), tokenizer_task("va_vae")
    finished(plain, store, 100, monkeypatch)
    ratio = size_of(large).flops / size_of(plain).flops
    assert ratio > 1.5
    assert Durations(store).seconds(large) == pytest.approx(100 * ratio, rel=1e-3)
    assert Durations(store).seconds(tokenizer_task("kl_vae", 1)) == pytest.approx(100, rel=1e-3)


def test_runs_of_the_nearest_flops_tell_the_time(tmp_path, monkeypatch):
    store = Store(tmp_path)
    for seed, seconds in ((0, 100), (1, 110), (2, 120)):
        finished(tokenizer_task("kl_vae", seed), store, seconds, monkeypatch)
    finished(tokenizer_task("va_vae"), store, 500, monkeypatch)
    durations = Durations(store)
    assert durations.seconds(tokenizer_task("va_vae", 1)) == pytest.approx(500, rel=1e-3)
    assert durations.seconds(tokenizer_task("kl_vae", 3)) == pytest.approx(110, rel=1e-3)


def test_runs_of_another_machine_that_came_as_text_tell_the_time_only_where_there_are_no_others(tmp_path, monkeypatch):
    store, task = Store(tmp_path), tokenizer_task("kl_vae", 5)
    for seed in range(3):
        finished(tokenizer_task("kl_vae", seed), store, 1000, monkeypatch, host="elsewhere")
    assert Durations(store).seconds(task) == pytest.approx(1000, rel=1e-3)
    finished(tokenizer_task("kl_vae", 3), store, 100, monkeypatch)
    assert Durations(store).seconds(task) == pytest.approx(100, rel=1e-3)


def test_a_run_whose_experiment_cannot_be_read_tells_the_time_of_a_unit(tmp_path, monkeypatch):
    store, plain = Store(tmp_path), tokenizer_task("kl_vae")
    finished(plain, store, 100, monkeypatch)
    for damage in (lambda path: path.write_text("damaged"), lambda path: write_json(path, {"scale": "of a plug-in"})):
        damage(plain.run_in(store).folder / "experiment.json")
        assert Durations(store).seconds(tokenizer_task("va_vae")) == pytest.approx(100, rel=1e-3)


def test_a_summary_names_no_stage_and_details_name_all(tmp_path):
    some = planned()
    short, long = (text(tmp_path, some, details=details) for details in (False, True))
    assert long.endswith(short.split("\n", 1)[1]) and len(short.splitlines()) < 9
    assert all(t.key in long and t.key not in short for t in some)


@pytest.fixture
def small_disk(monkeypatch):
    """A disk with 1 GiB that is free."""
    monkeypatch.setattr(costs.psutil, "disk_usage", lambda _: SimpleNamespace(free=2**30))


def test_a_plan_that_does_not_fit_the_disk_says_so_in_one_line(tmp_path, small_disk):
    some = planned(**LARGE)
    gib = sum(t.module.size(t.experiment).bytes for t in some) / 2**30
    expected = f"the missing stages leave {gib:,.0f} GiB, and 1 GiB are free at {tmp_path}"
    assert text(tmp_path, some, details=False).splitlines().count(f"warning: {expected}") == 1
    with pytest.raises(Mistake, match=f"^{re.escape(expected)}: --runs .* --yes "):
        require_disk(some, Store(tmp_path), agreed=False)
    require_disk(some, Store(tmp_path), agreed=True)
    require_disk(planned(), Store(tmp_path), agreed=False)
    assert "warning" not in text(tmp_path, planned())
    with pytest.raises(Mistake):
        require_disk(planned(), Store(tmp_path), agreed=False, times=1000)


def test_what_is_there_already_costs_nothing(tmp_path):
    some = planned(**LARGE)
    store = Store(tmp_path)
    first = next(t for t in some if t.stage == "generator")
    end(first.run_in(store), "diverged")
    shown = text(tmp_path, some)
    assert line(shown, "1", "generator")[1] == "generator"
    assert f"{len(some) - 1} of {len(some)} stages to run" in shown
    for t in some:
        if t is not first:
            end(t.run_in(store), "diverged")
    shown = text(tmp_path, some)
    assert shown.endswith(f"All {len(some)} stages are done.")
    assert "GPU-hours on" not in shown


def test_jobs_are_told_what_the_cluster_file_gives_them(tmp_path):
    shown = text(tmp_path, planned(), Cluster({"default": {"partition": "cpu"}, "tokenizer": TOKENIZER}))
    (tokenizer,) = [line for line in shown.splitlines() if line.endswith("  tokenizer")]
    cells = ["2 x 4", "1", "1 x 8", "6 x 8", "64 GiB", "12 h", "7", "2", "gpu", "tokenizer"]
    assert re.split(r"\s{2,}", tokenizer) == cells
    (rest,) = [line for line in shown.splitlines() if line.startswith("1 x 1") and "samples, " in line]
    assert "  cpu  " in rest and "tokenizer" not in rest


TOKENIZER = {
    "partition": "gpu",
    "nodes": 2,
    "processes": 4,
    "gpus": 1,
    "cpus": 6,
    "memory_gib": 64,
    "hours": 12,
    "timeouts": 7,
    "accumulate": 2,
}


def test_jobs_that_would_never_end_are_warned_of(tmp_path):
    some = planned(**LARGE)
    assert "warning: a job of generator takes about" in text(tmp_path, some)
    assert "warning" not in text(tmp_path, planned())
    (largest,) = {Pace().hours(f, "generator") for f in flops(some, "generator")}
    for timeouts, warned in ((math.ceil(largest / 8 / 24) - 1, False), (math.floor(largest / 8 / 24) - 1, True)):
        cluster = Cluster({"default": {"gpus": 1}, "generator": {"processes": 8, "hours": 24, "timeouts": timeouts}})
        assert ("a job of generator" in text(tmp_path, some, cluster)) == warned


def test_a_plan_with_warnings_fits_the_terminal(tmp_path, small_disk, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    shown = text(tmp_path, planned(**LARGE))
    assert "warning: a job of generator" in shown and "GiB are" in shown
    assert max(len(line) for line in shown.splitlines() if str(tmp_path) not in line) <= 80


def test_what_cannot_go_on_where_it_stopped_has_one_limit(tmp_path):
    slow = planned(tokenizer__decoder__width=4096, tokenizer__decoder__depth=64, sampling__images=200_000)
    (hours,) = {Pace().hours(f, "generation") for f in flops(slow, "generation")}
    cluster = Cluster({"default": {"gpus": 1, "hours": 0.7 * hours, "timeouts": 20}})
    assert "warning: a job of generation takes" in text(tmp_path, slow, cluster)


def test_a_gpu_and_a_share_of_its_peak_say_how_long_flops_take():
    assert Pace(GPUS["h100"], 0.5).hours(989e12 * 1800) == pytest.approx(1)
    assert Pace.named("a100", None).hours(1e18) / Pace().hours(1e18) == pytest.approx(989 / 312)
    assert Pace().hours(1e18, "tokenizer") > Pace().hours(1e18, "generator") == Pace().hours(1e18)  # as measured
    assert {Pace(mfu=0.5).hours(1e18, stage) for stage in ("tokenizer", "generator", "")} == {Pace(mfu=0.5).hours(1e18)}
    for name, mfu, told in (
        ("h10", 0.3, "Did you mean 'h100'"),
        ("h100", 0.0, "at least 0.0001"),
        ("h100", 1.1, "at most 1"),
    ):
        with pytest.raises(Mistake, match=told):
            Pace.named(name, mfu)


def test_a_plan_over_the_limit_names_its_largest_stages():
    some = planned(**LARGE)
    hours = hours_of(some) * (1 + 1e-12)  # summed in another order, it is rounded otherwise
    require_gpu_hours(some, Pace(), None)
    require_gpu_hours(some, Pace(), hours)
    with pytest.raises(Mistake, match="more than"):
        require_gpu_hours(some, Pace(), hours * (1 - 1e-9))
    require_gpu_hours([], Pace(), 0)
    with pytest.raises(
        Mistake, match=r"measured on an H100 \(2026-11-27\), more than --max-gpu-hours 100: 2 x generator [\d,]+, "
    ):
        require_gpu_hours(some, Pace(), 100)
    require_gpu_hours(some, Pace(), 2 * hours, times=2)
    with pytest.raises(Mistake, match="6 x generator"):
        require_gpu_hours(some, Pace(), 2 * hours, times=3)


# Commands

SMOKE = ["table5", "--scale", "smoke", "--rows", "mactok", "--seeds", "2"]
WIDE = [word for name, n in LARGE.items() for word in ("--set", f"{name.replace('__', '.')}={n}")]


@pytest.fixture
def ran(monkeypatch) -> list[object]:
    """What came as far as being run."""
    seen: list[object] = []
    monkeypatch.setattr(inline, "execute", lambda demand, *_: seen.append(demand))
    monkeypatch.setattr(page, "write", lambda *_: "page")
    return seen


def test_ablate_refuses_before_anything_is_written_or_run(tmp_path, ran, capsys):
    words = [*SMOKE, *WIDE, "--runs", str(tmp_path / "runs")]
    for more in ([], ["--dry-run"]):
        with pytest.raises(Mistake, match="more than --max-gpu-hours 100: 2 x generator"):
            ablate.main([*words, *more, "--max-gpu-hours", "100"])
    assert "GPU-hours on one H100 SXM at the MFU measured" in capsys.readouterr().out
    assert not ran and not list(tmp_path.iterdir())
    ablate.main([*words, "--max-gpu-hours", "1e9", "--yes"])
    assert len(ran) == 1


def test_ablate_refuses_what_does_not_fit_the_disk_unless_that_is_meant(tmp_path, ran, small_disk, capsys):
    words = [*SMOKE, *WIDE, "--runs", str(tmp_path / "runs")]
    assert ablate.main([*words, "--dry-run"]) == 0
    assert "warning: the missing stages leave" in capsys.readouterr().out
    with pytest.raises(Mistake, match="1 GiB are free"):
        ablate.main(words)
    assert not ran and not list(tmp_path.iterdir())
    ablate.main([*words, "--yes"])
    assert len(ran) == 1


def test_ablate_counts_what_is_missing_alone(tmp_path, ran):
    store = Store(tmp_path / "runs")
    for t in tasks([experiment("mactok", seed=seed, **LARGE) for seed in (0, 1)]):
        if t.stage == "generator":
            end(t.run_in(store), "diverged")
    ablate.main([*SMOKE, *WIDE, "--runs", str(store.root), "--max-gpu-hours", "1", "--yes"])
    assert len(ran) == 1


def test_a_plan_is_told_for_the_gpu_that_was_named(tmp_path, capsys):
    ablate.main([*SMOKE, "--runs", str(tmp_path / "runs"), "--dry-run", "--gpu", "a100", "--mfu", "0.45"])
    assert "on one A100 at 45 % MFU" in capsys.readouterr().out
    for wrong in (["--gpu", "h10"], ["--mfu", "0"], ["--max-gpu-hours", "-1"], ["--max-gpu-hours", "nan"]):
        with pytest.raises(Mistake):
            ablate.main([*SMOKE, "--runs", str(tmp_path / "runs"), "--dry-run", *wrong])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "told"), [([], "6 x generator"), (["--sampler", "tpe", "--trials", "24"], "24 x generator")]
)
def test_sweep_refuses_too(words, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Mistake, match=f"more than --max-gpu-hours 100: {told} "):
        sweep.main(["mask_ratio", "--scale", "smoke", *WIDE, "--max-gpu-hours", "100", *words])
    assert not list(tmp_path.iterdir())


def test_a_sweep_that_learns_is_priced_with_all_its_trials(tmp_path, capsys):
    words = ["mask_ratio", "--scale", "smoke", *WIDE, "--runs", str(tmp_path / "runs"), "--dry-run"]
    hours = []
    for trials in ("2", "24"):
        assert sweep.main([*words, "--sampler", "tpe", "--trials", trials]) == 0
        text = capsys.readouterr().out
        assert text.startswith(f"{trials} trials by tpe, ")
        hours.append(number(totals(text)["compute"], "GPU-hours"))
    assert hours[1] == pytest.approx(12 * hours[0], rel=0.01)
    with pytest.raises(Mistake) as refused:
        sweep.main([*words, "--sampler", "tpe", "--trials", "24", "--max-gpu-hours", "100"])
    assert number(str(refused.value).split("more than")[0], "GPU-hours") == hours[1]
