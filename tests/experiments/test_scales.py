"""Scales: complete at every size, as large as the paper says, planned and rehearsed without data, weights or a GPU."""

from __future__ import annotations

import re

import pytest
import torch

from harness.execution import rehearsal
from harness.experiments.fields import differences
from harness.experiments.published import PUBLISHED as PUBLISHED_FOLDER
from harness.experiments.published import published
from harness.experiments.requests import AblationRequest, new_request, study_called
from harness.experiments.scales import SCALES, scale, with_variant
from harness.experiments.study import Ablation
from harness.networks.roles import Roles
from harness.networks.weight_files import DINO, DINOV2, FOLDER_VARIABLE, INCEPTION, VGG
from harness.planning.plan import plan_of
from harness.planning.task import task
from harness.system import plugins
from harness.system.errors import Mistake
from models import tokenizers
from models.config import SIZES, Alignment, Gaussian, Masking, Tokenizer
from models.objectives.alignment import AlignmentLoss
from models.variants import VARIANTS
from tests.commands.test_cli import command

ABLATIONS = [name for name in plugins.names("ablations") if isinstance(study_called(name), Ablation)]
OF_THE_PAPER = ("paper256", "paper512")
PUBLISHED = {"S": 45e6, "B": 176e6, "BL": 391e6}


@pytest.mark.parametrize("name", SCALES)
@pytest.mark.parametrize("study", ABLATIONS)
def test_every_table_can_be_planned_at_every_scale(study, name):
    planned = plan_of(AblationRequest(study, study_called(study), scale(name)))
    assert planned.tasks
    assert all(t.module.size(t.experiment).bytes >= 0 for t in planned.tasks)


@pytest.mark.parametrize("name", SCALES)
def test_rows_pick_rungs_that_every_scale_has(name):
    studies = [study_called(known) for known in plugins.names("ablations")]
    chosen = [of.rungs for study in studies for of in (study, *study.rows)] + [v.rungs for v in VARIANTS.values()]
    picked = {(ladder, rung) for rungs in chosen for ladder, rung in rungs.items()}
    ladders = scale(name).ladders
    assert picked == {(ladder, rung) for ladder, rungs in ladders.items() for rung in rungs}


def test_a_rung_that_is_not_there_is_refused():
    with pytest.raises(Mistake, match=r"size of scale tiny: 'XXL'.*S, B, BL"):
        scale("tiny").rungs({"size": "XXL"})


def test_a_rung_sets_what_it_names():
    asked = AblationRequest("table7", study_called("table7"), scale("paper256"))
    found = {row.name: experiment for row, (experiment, *_) in asked.experiments().items()}
    sit, lightning = found["MacTok-128 + SiT-XL"], found["MacTok-64 + LightningDiT-XL"]
    assert (sit.generator.name, sit.generator.training.steps) == ("sit", 4_000_000)
    assert sit.generator.size == lightning.generator.size == SIZES["XL"]
    assert (lightning.tokenizer.tokens, lightning.generator.training.batch_images) == (64, 1024)
    assert {name: e.guidance.scales for name, e in found.items()} == {
        "MacTok-128 + SiT-XL": (2.3,),
        "MacTok-64 + SiT-XL": (2.4,),
        "MacTok-128 + LightningDiT-XL": (2.5,),
        "MacTok-64 + LightningDiT-XL": (2.7,),
    }


@pytest.mark.parametrize("name", SCALES)
def test_every_row_of_table5_has_its_own_guidance_where_a_search_is_affordable(name):
    """The paper prints the best of each row; at `tiny` a search would take longer than the table."""
    searched = name not in ("smoke", "tiny")
    asked = AblationRequest("table5", study_called("table5"), scale(name))
    for row, (experiment, *_) in asked.experiments().items():
        assert experiment.guidance.searched == searched, row.name
        assert len(experiment.guidance.scales) == (6 if searched else 1), row.name
        assert (1.0 in experiment.guidance.scales) == searched, "a row may be best without guidance"
        assert ("generator" in task("guidance", experiment).inputs) == searched, row.name
    keys = {task("guidance", experiment).key for experiment, *_ in asked.experiments().values()}
    assert len(keys) == (len(asked.study.rows) if searched else 1)


@pytest.mark.parametrize("study", ABLATIONS)
def test_rows_that_name_a_row_of_the_paper_name_one_that_is_printed(study):
    declared = study_called(study)
    printed = published(declared.published_table)
    assert {row.published for row in declared.rows} - {None} <= set(printed)


def test_systems_are_printed_with_guidance():
    row = published("7")["MacTok-128 + SiT-XL"]
    assert (row["gfid"], row["is"], row["rfid"]) == ("1.44", "302.5", "0.43")


# How large


def heads(encoder: str) -> AlignmentLoss:
    """Of the local term, onto a teacher as wide as the encoder."""
    return AlignmentLoss(Alignment(local_term=True, hidden=1024), 32, SIZES[encoder].width, SIZES[encoder].width)


@pytest.mark.parametrize("tokens", [32, 64, 128, 256])
@pytest.mark.parametrize("side", [256, 512])
@pytest.mark.parametrize("name", PUBLISHED)
def test_tokenizers_have_the_published_size(name, side, tokens):
    encoder, decoder = (SIZES[part] for part in {"S": "SS", "B": "BB", "BL": "BL"}[name])
    config = Tokenizer(16, tokens, 32, encoder, decoder, gaussian=Gaussian(on=True), masking=Masking(on=True))
    with torch.device("meta"):
        counted = [
            sum(p.numel() for p in module.parameters()) for module in (tokenizers.network(config, side), heads(name[0]))
        ]
    assert counted[0] == tokenizers.parameters(config, side)
    assert sum(counted) == pytest.approx(PUBLISHED[name], rel=0.02)


@pytest.mark.parametrize("study", ABLATIONS)
def test_no_published_number_is_typed(study):
    """Numbers of two decimals in the file of a study are none of those that its table has in the CSV."""
    source = (PUBLISHED_FOLDER / f"{study}.py").read_text(encoding="utf-8")
    printed = published(study_called(study).published_table)
    assert not set(re.findall(r"\d+\.\d\d\b", source)) & {cell for row in printed.values() for cell in row.values()}


# Fairness


@pytest.mark.parametrize("name", SCALES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_changes_its_tokenizer_alone(variant, name):
    """Not the images, the steps, the batch, the generator or the measures; not what judges or compares images."""
    changed = differences(scale(name).experiment, with_variant(scale(name).experiment, variant))
    assert all(path.startswith("tokenizer.") for path in changed)
    assert not any(path.startswith(("tokenizer.perceptual.", "tokenizer.adversarial.")) for path in changed)


@pytest.mark.parametrize("name", SCALES)
@pytest.mark.parametrize("study", ABLATIONS)
def test_rows_have_equal_budgets_but_for_what_they_declare(study, name):
    asked = AblationRequest(study, study_called(study), scale(name))
    (first, (plain, *_)), *others = asked.experiments().items()
    for row, (experiment, *_) in others:
        own = {path for r in (first, row) for path in (*r.fields, *r.times, *scale(name).rungs(r.rungs))}
        changed = differences(plain, experiment)
        assert {path for path in changed if not path.startswith("tokenizer.")} <= own, row.name


@pytest.mark.parametrize("name", OF_THE_PAPER)
def test_the_ladder_of_sizes_is_the_papers(name):
    asked = AblationRequest("table6b", study_called("table6b"), scale(name))
    for row, (experiment, *_) in asked.experiments().items():
        assert experiment.tokenizer_parameters == pytest.approx(PUBLISHED[row.name], rel=0.04)


def test_512_px_is_256_px_but_for_what_the_paper_changes():
    changed = differences(scale("paper256").experiment, scale("paper512").experiment)
    assert set(changed) == {
        *("scale", "data.image_size"),
        *(f"training.{field}" for field in ("steps", "batch_images", "warmup_steps")),
    }


@pytest.mark.parametrize("name", SCALES)
@pytest.mark.parametrize("study", ABLATIONS)
def test_every_row_finds_its_weights_where_there_are_any(study, name, monkeypatch, tmp_path):
    """No row asks for an encoder, or for any other weights, that nobody has."""
    files = [weights.names[0] for weights in (DINO, *DINOV2.values())]
    for file in (*files, VGG.names[0], INCEPTION.names[0]):
        (tmp_path / file).touch()
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    asked = AblationRequest(study, study_called(study), scale(name))
    for experiments in asked.experiments().values():
        Roles(experiments[0]).require()


# Rehearsed


@pytest.mark.parametrize("name", SCALES)
def test_what_is_rehearsed_is_of_full_size(name):
    experiment = scale(name).experiment
    rehearsed = rehearsal.rehearsed(experiment)
    for path in ("tokenizer.encoder", "tokenizer.decoder", "generator.size", "teacher", "data.image_size"):
        before, after = experiment, rehearsed
        for part in path.split("."):
            before, after = getattr(before, part), getattr(after, part)
        assert after == before, path
    assert rehearsed.training.steps == rehearsed.generator.training.steps == rehearsal.STEPS
    assert rehearsed.training.batch_images == rehearsed.generator.training.batch_images == 4
    assert rehearsed.tokenizer.adversarial.start_step == 0


@pytest.mark.slow
def test_a_rehearsal_runs_every_stage_and_leaves_nothing(tmp_path):
    words = ["table5", "--scale", "smoke", "--rows", "mactok", "--set", "adversarial.on=true", "--one-step", "--quiet"]
    done = command("harness.ablate", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if " done " in line}
    experiment = AblationRequest("table5", study_called("table5"), scale("smoke"), rows=("mactok",))
    assert set(lines) == {t.stage for t in plan_of(experiment).tasks}
    for term in ("reconstruction", "perceptual", "kl", "alignment", "adversarial", "lecam", "loss"):
        assert f"{term} " in lines["tokenizer"]
    assert list(tmp_path.iterdir()) == []


def test_a_loss_that_is_not_finite_is_told(tmp_path):
    run = rehearsal.Run(tmp_path)
    run.curves.log(1, {"train/loss": 0.5, "val/error": 0.1})
    assert rehearsal._losses(run) == "loss 0.5"
    run.curves.log(2, {"train/kl": float("nan")})
    assert rehearsal._losses(run) == rehearsal.NOT_FINITE


@pytest.mark.parametrize("name", SCALES)
def test_figures_of_collapse_share_their_tokenizers_with_the_sweep(name):
    sweep = new_request("collapse", scale(name))
    points = {task("tokenizer", e).key for point in sweep.grid() for e in sweep.experiments_of(point)}
    for figure in ("fig1", "fig5", "fig7"):
        for of_row, *_ in new_request(figure, scale(name)).experiments().values():
            assert task("tokenizer", of_row).key in points
