"""What a page says about where its objective, its lengths and its measures depart from the paper's."""

from __future__ import annotations

import pytest

from harness.experiments.requests import Request, SweepRequest, new_request
from harness.experiments.scales import SCALES, scale
from harness.system import plugins
from reports import departures
from tests.reports.test_report import table

STUDIES = [name for name in plugins.names("ablations") if name != "own"]


def departing(request: Request, row: str) -> dict[str, tuple[str, str]]:
    """What is here and in the paper, by the name of the setting."""
    shown = departures.table(request, request.study.row(row))
    lines = table(f"## here\n{shown}", "here") if shown else []
    found = {line["setting"]: (line["here"], line["paper"]) for line in lines}
    assert len(found) == len(lines)
    return found


def of_table5(row: str = "+ global alignment", at: str = "tiny", **options: object) -> dict[str, tuple[str, str]]:
    return departing(new_request("table5", scale(at), **options), row)


def test_at_tiny_every_departure_is_named():
    assert set(of_table5()) == {
        *("images", "image tokens", "latents", "encoder and decoder", "KL weight", "perceptual term"),
        *("adversarial term", "teacher", "training", "decoder fine-tuning", "generator", "samples", "measure"),
    }


def test_a_departure_is_told_with_both_sides():
    """Numbers that every scale has otherwise are set here."""
    settings = {
        "data.train_images": 8192,
        "tokens": 8,
        "channels": 4,
        "gaussian.kl_weight": 3e-4,
        "encoder.width": 48,
        "encoder.depth": 3,
        "decoder.width": 64,
        "decoder.depth": 5,
        "perceptual.weight": 0.01,
        "perceptual.batch_share": 0.25,
        "training.steps": 1500,
        "training.batch_images": 32,
        "training.learning_rate": 0.003,
        "finetuning.share": 0.2,
        "finetuning.learning_rate": 0.001,
        "generator.size.width": 96,
        "generator.size.depth": 7,
        "generator.training.steps": 800,
        "generator.training.batch_images": 128,
        "generator.training.learning_rate": 0.002,
        "sampling.images": 2048,
        "sampling.sampler": "heun",
        "sampling.steps": 25,
    }
    found = of_table5(fields=tuple((path, str(value)) for path, value in settings.items()))
    assert found["images"] == ("8,192 of `embedded` at 32 px", "1,281,167 of `imagenet` at 256 px")
    assert found["latents"] == ("8 x 4", "128 x 32")
    assert found["encoder and decoder"] == ("48 x 3 and 64 x 5", "768 x 12 and 768 x 12, from DINOv2")
    # The weight times half the pixels: 3e-4 x 3 x 32² / 2 here, 1e-6 x 3 x 256² / 2 there.
    assert found["KL weight"] == ("0.0003 (water level 0.461)", "1e-06 (water level 0.0983)")
    assert found["perceptual term"] == (
        "weight 0.01, features of EfficientNet-Lite1, 25 % of every batch",
        "weight 1, LPIPS on VGG-16, 100 % of every batch",
    )
    assert found["adversarial term"] == ("none", "weight 0.2 from step 20,000 on heads of dino_vits16")
    assert found["training"] == (
        "1,500 steps of 32 (5.86 epochs), learning rate 0.003",
        "250,000 steps of 256 (50 epochs), learning rate 0.0001",
    )
    assert found["decoder fine-tuning"] == (
        "300 steps of 32 (1.17 epochs), learning rate 0.001",
        "50,000 steps of 256 (9.99 epochs), learning rate 0.0001",
    )
    assert found["generator"] == (
        "sit 96 x 7, 800 steps of 128 (12.5 epochs), learning rate 0.002",
        "sit 768 x 12, 500,000 steps of 256 (99.9 epochs), learning rate 0.0001",
    )
    assert found["samples"] == ("2,048, heun, 25 steps", "50,000, euler_maruyama, 250 steps")
    assert "EfficientNet-Lite0" in found["teacher"][0] and "DINOv2 ViT-L/14" in found["teacher"][1]
    assert "EfficientNet-Lite2" in found["measure"][0] and "Inception-v3" in found["measure"][1]


def test_settings_that_agree_are_left_out():
    assert "alignment" not in of_table5()
    assert of_table5(fields=(("alignment.weight", "0.2"),))["alignment"] == ("weight 0.2", "weight 0.1")
    assert "KL weight" not in of_table5("autoencoder")  # neither has one
    assert of_table5(fields=(("patch_size", "4"),))["image tokens"] == ("64", "256")
    assert "image tokens" not in of_table5(fields=(("patch_size", "2"),))  # 16 x 16 patches in both
    for name in ("kl_weight", "mask_ratio"):  # no fine-tuning, there or here
        request = new_request(name, scale("tiny"))
        assert "decoder fine-tuning" not in departing(request, request.study.rows[-1].name)


def test_an_equal_weight_on_fewer_pixels_is_another_water_level():
    found = of_table5(fields=(("gaussian.kl_weight", "1e-6"),))
    assert found["KL weight"] == ("1e-06 (water level 0.00154)", "1e-06 (water level 0.0983)")


def test_parts_that_are_on_here_are_told_with_their_weights():
    adversarial = (("adversarial.on", "true"), ("adversarial.weight", "0.3"), ("adversarial.start_step", "1234"))
    found = of_table5(fields=(*adversarial, ("generator.on", "false")))
    assert found["adversarial term"][0] == "weight 0.3 from step 1,234 on heads of efficientnet_lite0"
    assert (found["generator"][0], found["samples"][0]) == ("none", "none")
    assert of_table5(fields=(("finetuning.on", "false"),))["decoder fine-tuning"][0] == "none"
    assert of_table5(fields=(("perceptual.on", "false"),))["perceptual term"][0] == "none"


@pytest.mark.parametrize("name", STUDIES)
def test_at_the_papers_own_scale_nothing_departs(name):
    request = new_request(name, scale("paper256"))
    for row in request.chosen_rows():
        assert departures.table(request, row) == "", row.name


def test_at_the_papers_own_scale_what_the_user_sets_departs_alone():
    assert of_table5(at="paper256", fields=(("generator.training.steps", "400000"),)) == {
        "generator": (
            "sit 768 x 12, 400,000 steps of 256 (79.9 epochs), learning rate 0.0001",
            "sit 768 x 12, 500,000 steps of 256 (99.9 epochs), learning rate 0.0001",
        )
    }
    changed = of_table5(at="paper256", data="folder:/pictures")
    assert changed == {"images": ("1,281,167 of `folder` at 256 px", "1,281,167 of `imagenet` at 256 px")}


@pytest.mark.parametrize("at", [at for at in SCALES if at != "paper256"])
@pytest.mark.parametrize("name", STUDIES)
def test_at_every_other_scale_all_that_is_told_differs(name, at):
    request = new_request(name, scale(at))
    for row in request.chosen_rows():
        found = departing(request, row.name)
        assert "images" in found and "training" in found, row.name
        assert all(here != paper for here, paper in found.values()), row.name


def test_a_row_is_compared_with_itself_at_the_papers_scale():
    """What a row changes it changes on both sides."""
    plain, masked = of_table5("KL-VAE"), of_table5("latent masking")
    assert plain == masked
    (full, _), (half, of_paper) = (
        departing(new_request("table3", scale("tiny")), row)["latents"] for row in ("MacTok-128", "MacTok-64")
    )
    assert of_paper == "64 x 32"
    assert int(full.split(" x ")[0]) == 2 * int(half.split(" x ")[0])


def test_peers_are_not_compared_with_the_settings_of_the_paper():
    request = new_request("table3", scale("tiny"))
    rows = request.study.rows
    assert rows[-1].name == "l-DeTok"
    assert departures.section(request, rows).startswith("Of `MacTok-64`:\n\n| setting")
    assert departures.section(request, rows[2:]) == ""


def test_an_axis_of_a_sweep_departs_by_its_scale_alone():
    request = new_request("mask_ratio", scale("tiny"), space=("training.steps=100,200",))
    assert isinstance(request, SweepRequest)
    (row,) = request.chosen_rows()
    assert departing(request, row.name) == departing(new_request("mask_ratio", scale("tiny")), row.name)
