from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from harness.system.randomness import Draws, Part
from models.config import Transformer
from models.frozen.efficientnet import PerceptualDistance
from models.layers.transformer import Blocks
from models.objectives.alignment import Features
from models.objectives.masking import cosine_score, image_mask
from models.objectives.objective import Objective
from models.variants import VARIANTS
from tests.conftest import BATCH, DRAWS, SIDE, TOKENS, WIDTHS, Counter, experiment, images

VIT_WIDTH = 24
WITH_TEACHER = [name for name in VARIANTS if experiment(name).tokenizer.wants_teacher]


def fake_features(widths: tuple[int, int] = WIDTHS, tokens: int = TOKENS) -> Features:
    patch, whole = widths
    p = DRAWS.normal("p", BATCH, tokens, patch)
    return Features(DRAWS.normal("c", BATCH, whole), p, DRAWS.normal("s", BATCH, tokens))


def teacher_of(variant: str) -> Features | None:
    config = experiment(variant).tokenizer
    return fake_features(tokens=config.image_tokens(SIDE)) if config.wants_teacher else None


def objective_of(
    variant: str, perceptual: nn.Module | None = None, widths: tuple[int, int] = WIDTHS, **fields: object
) -> Objective:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Objective(experiment(variant, **fields).tokenizer, SIDE, widths, perceptual)


def total(objective: Objective, terms: dict[str, Tensor]) -> Tensor:
    return torch.stack([objective.weights(100)[name] * value for name, value in terms.items()]).sum()


class NoNoise(Draws):
    """The same draws, but every sample is the mean."""

    def normal(self, name: str, *shape: int) -> Tensor:
        return torch.zeros(shape)


class TinyViT(nn.Module):
    """A teacher whose class token and patch tokens share one space."""

    def __init__(self, patch: int = 4) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, VIT_WIDTH, patch, stride=patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, VIT_WIDTH))
        self.blocks = Blocks(Transformer(VIT_WIDTH, 1, 2))

    @torch.no_grad()
    def forward(self, x: Tensor) -> Features:
        p = self.embed(x).flatten(2).mT
        h = self.blocks(torch.cat([self.class_token.expand(len(x), -1, -1), p], dim=1))
        c, p = h[:, 0], h[:, 1:]
        return Features(c, p, cosine_score(c, p))


# Every variant


@pytest.mark.parametrize("variant", VARIANTS)
def test_terms_and_gradients(variant):
    config = experiment(variant).tokenizer
    objective = objective_of(variant)
    for name, parameter in objective.named_parameters():
        if "modulation" in name:  # what starts at zero would hide what is behind it
            nn.init.normal_(parameter, std=0.05)
    terms = objective(images(), DRAWS, teacher_of(variant)).terms
    named = {"reconstruction": True, "kl": config.gaussian.on, "alignment": config.alignment.active}
    named |= {"entropy": config.soft_codes.on, "codes": config.codes.on}
    named |= {"auxiliary": config.auxiliary.on, "foundation": config.foundation.on}
    assert set(terms) == {name for name, on in named.items() if on}
    assert all(value.shape == () for value in terms.values())
    total(objective, terms).backward()
    for name, parameter in objective.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@pytest.mark.parametrize("variant", VARIANTS)
def test_terms_in_bfloat16_are_close_to_float32(variant):
    objective = objective_of(variant)
    exact = objective(images(), DRAWS, teacher_of(variant)).terms
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = objective(images(), DRAWS, teacher_of(variant)).terms
    for name, value in exact.items():
        assert rough[name].dtype == torch.float32, name
        assert rough[name].item() == pytest.approx(value.item(), rel=0.05, abs=0.02), name


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_step_encodes_once_and_draws_nothing_from_the_global_generator(variant):
    objective = objective_of(variant)
    encoded, decoded = Counter(objective.tokenizer.encoder), Counter(objective.tokenizer.decoder)
    before = torch.get_rng_state()
    terms = objective(images(), DRAWS, teacher_of(variant)).terms
    assert (len(encoded.calls), len(decoded.calls)) == (1, 1)
    assert torch.equal(torch.get_rng_state(), before)
    again = objective(images(), DRAWS, teacher_of(variant)).terms
    assert {name: value.item() for name, value in terms.items()} == {name: v.item() for name, v in again.items()}


@pytest.mark.parametrize(
    ("one", "other"),
    [pair for pair in itertools.combinations(VARIANTS, 2) if len({experiment(v).tokenizer.name for v in pair}) == 1],
)
def test_variants_of_one_seed_start_from_the_same_weights(one, other):
    a, b = objective_of(one).state_dict(), objective_of(other).state_dict()
    assert {name for name in a.keys() & b.keys() if not torch.equal(a[name], b[name])} == set()


# Parts of a batch


def term_of_parts(objective: Objective, name: str, variant: str) -> tuple[float, float]:
    """A term over a batch, and the mean over its halves."""
    x, teacher = images(), teacher_of(variant)
    values = [objective(x, DRAWS, teacher).terms[name].item()]
    for part in (Part(0, 2), Part(1, 2)):
        of_part = Features(*map(part, teacher)) if teacher else None
        values.append(objective(part(x), dataclasses.replace(DRAWS, part=part), of_part).terms[name].item())
    return values[0], sum(values[1:]) / 2


def over_images(variant: str, name: str) -> bool:
    """Whether a term is a mean over images, so that the mean over parts of a batch is the same."""
    c = experiment(variant).tokenizer
    own_ratios = c.masking.per == "image"  # so parts differ in how many patches they hide
    return not (name == "entropy" or (name == "kl" and c.gaussian.free_nats) or (name == "auxiliary" and own_ratios))


@pytest.mark.parametrize("variant", VARIANTS)
def test_terms_are_the_same_in_parts_if_they_are_means_over_images(variant):
    objective = objective_of(variant)
    for name in objective(images(), DRAWS, teacher_of(variant)).terms:
        whole, parts = term_of_parts(objective, name, variant)
        if over_images(variant, name):
            assert parts == pytest.approx(whole, rel=1e-5, abs=1e-6), name


def floor_between() -> float:
    """A floor for free bits that some dimensions are above and some below."""
    return objective_of("free_bits").tokenizer.encode(images()).kl().mean(0).median().item()


@pytest.mark.parametrize(
    ("variant", "name", "fields"),
    [
        ("softvq", "entropy", dict),
        ("free_bits", "kl", lambda: {"tokenizer__gaussian__free_nats": floor_between()}),
        ("maetok", "auxiliary", lambda: {"tokenizer__masking__per": "image"}),
    ],
)
def test_terms_that_are_no_means_over_images_are_others_in_parts(variant, name, fields):
    whole, parts = term_of_parts(objective_of(variant, **fields()), name, variant)
    assert parts != pytest.approx(whole, rel=1e-4)


# Terms


def test_kl_term_is_a_sum_over_dimensions_and_a_mean_over_images():
    objective = objective_of("kl_vae")
    posterior = objective.tokenizer.encode(images())
    q = Normal(posterior.mean, (posterior.log_variance / 2).exp())
    per_image = kl_divergence(q, Normal(0.0, 1.0)).flatten(1).sum(1)
    assert objective(images(), DRAWS, None).terms["kl"].item() == pytest.approx(per_image.mean().item(), rel=1e-5)


def test_reconstruction_is_a_mean_over_pixels():
    objective, x = objective_of("autoencoder"), images()
    terms = objective.reconstruction_terms(x, x + 0.5)
    assert terms["reconstruction"].item() == pytest.approx(0.25)


@pytest.mark.parametrize(("warmup_steps", "shares"), [(0, [1, 1, 1]), (4, [0.25, 0.5, 1])])
def test_perceptual_weight_warms_up(warmup_steps, shares):
    objective = objective_of(
        "mactok", tokenizer__perceptual__warmup_steps=warmup_steps, tokenizer__perceptual__weight=3.0
    )
    assert [objective.weights(step)["perceptual"] / 3 for step in (0, 1, 7)] == pytest.approx(shares)


# Teachers


@pytest.mark.parametrize(("latents", "depends_on_noise"), [("sample", True), ("mean", False)])
def test_what_is_aligned(latents, depends_on_noise):
    objective = objective_of("mactok", tokenizer__alignment__latents=latents)
    noisy, clean = (objective(images(), d, fake_features()).terms for d in (DRAWS, NoNoise(0, "tests", 0)))
    assert noisy["reconstruction"] != clean["reconstruction"]
    assert (noisy["alignment"] != clean["alignment"]) == depends_on_noise


@pytest.mark.parametrize("variant", WITH_TEACHER)
def test_a_vit_is_a_teacher_too(variant):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        teacher = TinyViT(experiment(variant).tokenizer.patch_size)
    features = teacher(images())
    objective = objective_of(variant, widths=(VIT_WIDTH, VIT_WIDTH))
    terms = objective(images(), DRAWS, features).terms
    total(objective, terms).backward()
    assert all(p.grad.isfinite().all() for p in objective.parameters())
    assert -1 <= terms.get("alignment", torch.zeros(())).item() <= 1


def test_semantic_masking_hides_what_looks_like_the_class_token():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        features = TinyViT()(images())
    objective = objective_of("semantic_masking")
    seen = Counter(objective.tokenizer.encoder)
    objective(images(), DRAWS, features)
    tokenizer = objective.tokenizer
    hidden = (seen.calls[0][:, :TOKENS] == tokenizer.mask_token + tokenizer.image_positions).all(-1)
    assert hidden.any()
    for mask, c, p in zip(hidden, features.c, features.p, strict=True):
        cosines = torch.stack([c @ p_i / (c.norm() * p_i.norm()) for p_i in p])
        assert set(cosines.argsort(descending=True)[: mask.sum()].tolist()) == set(mask.nonzero()[:, 0].tolist())


def test_image_mask_of_the_objective_is_that_of_the_law():
    objective = objective_of("mactok")
    seen = Counter(objective.tokenizer.encoder)
    objective(images(), DRAWS, fake_features())
    tokenizer = objective.tokenizer
    hidden = (seen.calls[0][:, :TOKENS] == tokenizer.mask_token + tokenizer.image_positions).all(-1)
    assert torch.equal(hidden, image_mask(objective.config.masking, DRAWS, BATCH, TOKENS, fake_features().s))


# Frozen networks


def test_frozen_networks_stay_in_evaluation_mode_and_learn_nothing(net):
    objective = objective_of("mactok", PerceptualDistance(net))
    objective.train()
    assert objective.tokenizer.training
    assert not any(module.training for module in net.modules())
    before = {name: value.clone() for name, value in net.state_dict().items()}
    terms = objective(images(), DRAWS, fake_features()).terms
    total(objective, terms).backward()
    assert all(p.grad is None and not p.requires_grad for p in net.parameters())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert objective(images(), DRAWS, fake_features()).terms["perceptual"].item() == terms["perceptual"].item()
