from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest

from harness.experiments.experiment import full_path
from harness.experiments.fields import differences, flat, with_fields
from harness.experiments.keys import canonical, key_of
from harness.experiments.requests import stages_of_row
from harness.experiments.scales import SCALES, with_variant
from harness.planning.task import task, tasks
from harness.system import plugins
from harness.system.errors import Mistake
from models.variants import VARIANTS
from tests.conftest import experiment


@pytest.mark.parametrize("name", SCALES)
def test_every_variant_fits_every_scale(name):
    for variant in VARIANTS:
        assert tasks([with_variant(SCALES[name].experiment, variant)])


@pytest.mark.parametrize("name", [name for name, v in VARIANTS.items() if v.base])
def test_a_variant_differs_from_its_base_in_its_own_fields(name):
    variant, base = VARIANTS[name], experiment(VARIANTS[name].base).tokenizer
    declared = {full_path(path) for path in variant.fields} | set(SCALES["smoke"].rungs(variant.rungs))
    found = {full_path(path) for path in differences(base, experiment(name).tokenizer)}
    assert found <= declared
    same = {full_path(path) for path, value in variant.fields.items() if flat(base)[path] == value}
    assert set(map(full_path, variant.fields)) - found <= same  # it begins from random weights at `smoke` as it is


def test_values_may_be_text_and_are_typed():
    assert experiment(training__steps="12", training__warmup_steps="3").training.steps == 12
    assert experiment(tokenizer__gaussian__on="false").tokenizer.gaussian.on is False


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("tokenizer.masking.max_ratio", "1.2", "less than or equal to 1"),
        ("tokenizer.masking.max_ration", "0.5", "Did you mean 'max_ratio'"),
        ("tokenizer.masking", "0.5", "group of fields"),
        ("training.steps.more", "1", "is a value"),
        ("training.steps", "many", "valid integer"),
        ("training.steps", "0", "greater than or equal to 1"),
        ("tokenizer.tokens", "7", "does not divide"),
        ("tokenizer.patch_size", "5", "not a multiple"),
        ("tokenizer.encoder.heads", "3", "multiple of heads"),
        ("tokenizer.masking.per", "pixel", "'image' or 'batch'"),
        ("training.learning_rate", "nan", "finite number"),
        ("training.warmup_steps", "4000", "not below training.steps"),
        ("guidance.intervals", "0:0.7,0.8:0.7", "guidance.intervals: 0.8 is not below 0.7"),
        ("guidance.scales", "1.5,0.5", "greater than or equal to 1"),
        ("guidance.scales", "", "valid number"),
        ("sampling.steps", "0", "greater than or equal to 1"),
        ("sampling.sampler", "ode", "'euler', 'heun', 'euler_maruyama', 'sde_heun' or 'dopri5'"),
    ],
)
def test_what_cannot_be_is_one_clear_line(path, value, words):
    with pytest.raises(Mistake, match=words) as error:
        with_fields(experiment(), {path: value})
    assert "\n" not in str(error.value)


def test_a_tokenizer_in_two_stages_is_not_trained():
    with pytest.raises(Mistake, match=r"tokenizer\.proxy_codes: .* is not trained here; harness\.convert") as error:
        experiment("titok", tokenizer__proxy_codes__on=True, tokenizer__proxy_codes__multipliers="1,1,1")
    assert "\n" not in str(error.value)


def test_fields_are_checked_together():
    changed = with_fields(experiment(), {"training.steps": 2, "training.warmup_steps": 1})
    assert (changed.training.steps, changed.training.warmup_steps) == (2, 1)


def test_parts_that_are_off_have_no_key():
    plain = experiment("autoencoder")
    assert "masking" not in canonical(plain.tokenizer)
    for path in ("masking.max_ratio", "latent_masking.max_ratio", "alignment.weight", "gaussian.kl_weight"):
        assert task("tokenizer", with_fields(plain, {f"tokenizer.{path}": 0.3})) == task("tokenizer", plain)


def test_an_option_added_later_and_off_keeps_the_key():
    @dataclasses.dataclass(frozen=True)
    class Before:
        width: int = 8

    @dataclasses.dataclass(frozen=True)
    class After:
        width: int = 8
        rotary: bool = False
        gan: str | None = None

    assert key_of(Before()) == key_of(After()) != key_of(After(rotary=True))


def test_every_field_that_has_an_influence_changes_some_key_but_the_label():
    before = experiment("mactok", guidance__scales="1,2", generator__name="lightningdit")  # which heeds all of them
    keys = {t.key for t in tasks([before])}
    other = {
        int: lambda v: v * 2 or 1,
        float: lambda v: v / 2 + 0.01,
        bool: lambda v: not v,
        tuple: lambda v: (*v, (0.1, 0.5) if isinstance(v[0], tuple) else 3.0),
    }
    absent = {"evaluation.measure": "dinov2", "generator.direction_weight": 1.0, "sampling.time_shift": 2.0}
    absent |= {"generator_seed": 5, "sampling_seed": 6, "tokenizer.masking.min_ratio": 0.1}
    absent |= {f"tokenizer.{name}": 0.2 for name in ("masking.deviation", "gaussian.free_nats")}
    absent |= {"tokenizer.gaussian.committed_nats": 0.2, "generator.path": "gvp", "generator.target": "noise"}
    absent |= {
        "evaluation.transfer": "embedded:objects=2",
        "guidance.earlier": 0.5,
        "sampling.diffusion": "twice_sigma",
        "sampling.last_step": 0.04,
    }
    skipped = {
        "tokenizer.name",
        "tokenizer.released_positions",
        "scale",
        "data.argument",
        "data.name",
        "data.crop",
        "data.unreadable",
        "teacher",
    }
    for path, value in flat(before, active_only=True).items():
        if path in skipped or isinstance(value, str):
            continue
        changed = with_fields(before, {path: absent[path] if value is None else other[type(value)](value)})
        assert {t.key for t in tasks([changed])} != keys, path


@pytest.mark.parametrize("variant", ["maetok", "detok"])
def test_released_positions_change_the_key_of_a_tokenizer_that_has_them(variant):
    released = experiment(variant, tokenizer__released_positions=True)
    assert task("tokenizer", released).key != task("tokenizer", experiment(variant)).key


def test_measuring_otherwise_retrains_nothing():
    before, after = experiment(), experiment(evaluation__metrics_px=32)
    for stage in ("tokenizer", "finetuning", "teacher_features"):
        assert task(stage, before).key == task(stage, after).key
    assert task("evaluation", before).key != task("evaluation", after).key


GOLDEN = {
    "data": "4872f7378e3d0b36",
    "components": "edfaf5c5168f1e0d",
    "pca": "500b78ce668fbc40",
    "linear_gaussian": "564b319dae1b3e56",
    "teacher_features": "ffafae595bc4d6ea",
    "difficulty": "c0444e1ba4532756",
    "tokenizer": "dfd40e2ae60bad21",
    "snapshots": "902ec185dc2c5403",
    "diagnosis": "1e076d272cafda9b",
    "finetuning": "18417026d29a457c",
    "evaluation": "e82542c1e571b1fe",
    "transfer": "3d85c0bb733677e8",
    "pca_active": "ea2574766c54a91e",
    "reference": "9ba70e1b55cb6070",
    "latents": "d0c97cb9d9e7a0b0",
    "generator": "ea3a78bd25006cd5",
    "generator_snapshots": "59f88b694008fa6b",
    "samples": "cb257d7a7b035f9c",
    "guidance": "c04c4f6a40edce74",
    "guided_samples": "7919bbd1268c821b",
    "generation": "186f436f884a0e2b",
    "plugin_metrics": "a8c78afe6e883ace",
    "plugin_generation": "ad923549efd6f82b",
}
OF_THE_IMAGES = ("data", "components", "teacher_features", "difficulty", "reference")
NOT_OF_ROWS = ("diagnosis", "transfer", "plugin_metrics", "plugin_generation")


@pytest.mark.parametrize(
    ("fields", "redone"),
    [
        ({"guidance__scales": "1.5"}, {"guidance", "guided_samples", "generation"}),
        ({"guidance__scales": "1,2"}, {"guidance", "guided_samples", "generation"}),
        ({"guidance__intervals": "0:0.6"}, {"guidance", "guided_samples", "generation"}),
        ({"sampling__curve_images": 140}, {"generator_snapshots"}),
        ({"sampling__images": 170}, {"samples", "guided_samples", "generation", "pca", "linear_gaussian"}),
        (
            {"tokenizer__gaussian__kl_weight": 0.5},
            {stage for stage in GOLDEN if stage not in (*OF_THE_IMAGES, *NOT_OF_ROWS, "pca", "guidance")},
        ),
        (
            {"generator__label_dropout": 0.2},
            {"generator", "samples", "guided_samples", "generator_snapshots", "generation"},
        ),
        ({"finetuning__share": 0.1}, {"finetuning", "evaluation", "pca_active", "generator_snapshots", "generation"}),
    ],
)
def test_a_change_redoes_what_depends_on_it_and_nothing_else(fields, redone):
    before, after = ({t.stage: t.key for t in tasks([e])} for e in (experiment(), experiment(**fields)))
    assert {stage for stage in before if before[stage] != after[stage]} == redone


def test_a_generator_trained_for_one_table_serves_the_other():
    of_table5, of_table4 = experiment(), experiment(finetuning__on=False, guidance__on=False)
    for stage in ("tokenizer", "latents", "generator", "samples"):
        assert task(stage, of_table5).key == task(stage, of_table4).key
    assert "guided_samples" not in {t.stage for t in tasks([of_table4])}


def test_samples_depend_on_the_search_and_not_on_what_it_found():
    searched = experiment(guidance__scales="1,2")
    assert task("guided_samples", searched).inputs["guidance"].inputs["generator"] == task("generator", searched)
    assert not task("guidance", experiment()).inputs


def test_without_a_generator_nothing_is_generated():
    assert not {t.stage for t in tasks([experiment(generator__on=False)])} & {"latents", "generator", "samples"}


def test_rows_share_what_does_not_depend_on_them():
    planned = tasks([experiment(name) for name in VARIANTS])
    patches = {experiment(name).tokenizer.patch_size for name in VARIANTS}
    assert sum(t.stage == "data" for t in planned) == 1
    assert sum(t.stage == "teacher_features" for t in planned) == len(patches)
    assert sum(t.stage == "tokenizer" for t in planned) == len(VARIANTS)
    assert {t.stage for t in planned} >= set(stages_of_row(experiment()))
    places = {t: place for place, t in enumerate(planned)}
    assert all(places[needed] < places[t] for t in planned for needed in t.inputs.values())


@pytest.mark.parametrize("stage", GOLDEN)
def test_a_key_stays_until_its_revision_is_raised(stage):
    assert task(stage, experiment()).key == GOLDEN[stage]


def test_every_stage_has_a_golden_key():
    assert sorted(GOLDEN) == plugins.names("harness.stages")


LIGHT = [
    "models.config",
    "models.variants",
    "harness.planning.task",
    "harness.ablate",
    "harness.sweep",
    "harness.report",
    "harness.bench",
]


@pytest.mark.parametrize("module", LIGHT)
def test_declarations_are_importable_without_torch(module):
    code = f"import sys, {module}; sys.exit(any(m in sys.modules for m in ('torch', 'timm', 'matplotlib', 'pandas')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
