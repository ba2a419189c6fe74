from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence
from torch.nn import functional

from harness import weights
from harness.draws import Draws
from harness.scales import SCALES
from harness.store import Store
from models.alignment import AlignmentLoss, Features
from models.config import Alignment, Transformer
from models.efficientnet import (
    EfficientNet,
    PerceptualDistance,
    cosine_score,
    network_input,
    norm_score,
    resized,
    teacher_features,
)
from models.masking import image_mask
from models.objective import Objective
from models.tokenizer import Posterior, Tokenizer
from models.transformer import Blocks, attention, positions_1d, positions_2d
from models.variants import VARIANTS
from tests.conftest import experiment

SIDE = 32  # px, of the smoke scale
TOKENS = 64  # its N
BATCH = 6
WIDTHS = (112, 1280)  # of patch tokens and class token, as EfficientNet-Lite0 has them
DRAWS = Draws(0, "tests", 0)
VIT_WIDTH = 24

WITH_TEACHER = [name for name in VARIANTS if experiment(name).tokenizer.wants_teacher]


def images(batch: int = BATCH, side: int = SIDE) -> Tensor:
    return DRAWS.uniform("images", batch, 3, side, side) * 2 - 1


def fake_features(widths: tuple[int, int] = WIDTHS) -> Features:
    patch, whole = widths
    p = DRAWS.normal("p", BATCH, TOKENS, patch)
    return Features(DRAWS.normal("c", BATCH, whole), p, DRAWS.normal("s", BATCH, TOKENS))


def teacher_of(variant: str) -> Features | None:
    return fake_features() if experiment(variant).tokenizer.wants_teacher else None


def tokenizer_of(variant: str, seed: int = 0, **fields: object) -> Tokenizer:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Tokenizer(experiment(variant, **fields).tokenizer, SIDE)


def objective_of(
    variant: str, perceptual: nn.Module | None = None, widths: tuple[int, int] = WIDTHS, **fields: object
) -> Objective:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Objective(experiment(variant, **fields).tokenizer, SIDE, widths, perceptual)


def total(objective: Objective, terms: dict[str, Tensor]) -> Tensor:
    return torch.stack([objective.weights(100)[name] * value for name, value in terms.items()]).sum()


class Counter:
    def __init__(self, module: nn.Module):
        self.calls: list[Tensor] = []
        module.register_forward_pre_hook(lambda _, args: self.calls.append(args[0].detach()))


class NoNoise(Draws):
    """The same draws, but every sample is the mean."""

    def normal(self, name: str, *shape: int) -> Tensor:
        return torch.zeros(shape)


class TinyViT(nn.Module):
    """A teacher whose class token and patch tokens share one space."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, VIT_WIDTH, 4, stride=4)
        self.class_token = nn.Parameter(torch.zeros(1, 1, VIT_WIDTH))
        self.blocks = Blocks(Transformer(VIT_WIDTH, 1, 2))

    @torch.no_grad()
    def forward(self, x: Tensor) -> Features:
        p = self.embed(x).flatten(2).mT
        h = self.blocks(torch.cat([self.class_token.expand(len(x), -1, -1), p], dim=1))
        c, p = h[:, 0], h[:, 1:]
        return Features(c, p, cosine_score(c, p))


@pytest.fixture(scope="module")
def net() -> EfficientNet:
    """Random weights; dropout and stochastic depth that would show at once if anything switched them on."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = timm.create_model("tf_efficientnet_lite0", pretrained=False, drop_rate=0.5, drop_path_rate=0.5)
        return EfficientNet(model)


# Every variant


@pytest.mark.parametrize("variant", VARIANTS)
def test_shapes(variant):
    config = experiment(variant).tokenizer
    tokenizer = tokenizer_of(variant)
    posterior = tokenizer.encode(images())
    for moment in posterior:
        if moment is not None:
            assert moment.shape == (BATCH, config.tokens, config.channels)
            assert moment.dtype == torch.float32
    assert (posterior.log_variance is not None) == config.gaussian.on
    assert tokenizer.decode(posterior.mean).shape == (BATCH, 3, SIDE, SIDE)


@pytest.mark.parametrize("variant", VARIANTS)
def test_terms_and_gradients(variant):
    config = experiment(variant).tokenizer
    objective = objective_of(variant)
    terms = objective(images(), DRAWS, teacher_of(variant))
    named = {"reconstruction": True, "kl": config.gaussian.on, "alignment": config.alignment.active}
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
    exact = objective(images(), DRAWS, teacher_of(variant))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = objective(images(), DRAWS, teacher_of(variant))
    for name, value in exact.items():
        assert rough[name].dtype == torch.float32, name
        assert rough[name].item() == pytest.approx(value.item(), rel=0.05, abs=0.02), name


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_step_encodes_once_and_draws_nothing_from_the_global_generator(variant):
    objective = objective_of(variant)
    encoded, decoded = Counter(objective.tokenizer.encoder), Counter(objective.tokenizer.decoder)
    before = torch.get_rng_state()
    terms = objective(images(), DRAWS, teacher_of(variant))
    assert (len(encoded.calls), len(decoded.calls)) == (1, 1)
    assert torch.equal(torch.get_rng_state(), before)
    again = objective(images(), DRAWS, teacher_of(variant))
    assert {name: value.item() for name, value in terms.items()} == {name: v.item() for name, v in again.items()}


@pytest.mark.parametrize("variant", VARIANTS)
def test_weights_survive_the_disk(variant, tmp_path):
    run = Store(tmp_path).run("tokenizer", variant)
    run.begin({}, {})
    before = tokenizer_of(variant)
    weights.save(run, weights.WEIGHTS, before)
    run.finish([], {})
    after = weights.load_tokenizer(experiment(variant), run)
    assert not after.training
    assert before.state_dict().keys() == after.state_dict().keys()
    assert all(torch.equal(value, after.state_dict()[name]) for name, value in before.state_dict().items())
    for one, other in zip(before.encode(images()), after.encode(images()), strict=True):
        assert one is other is None or torch.equal(one, other)


@pytest.mark.parametrize("scale", [*SCALES, "uneven"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_parameter_count(variant, scale):
    base = SCALES["smoke" if scale == "uneven" else scale].experiment
    laid = experiment(variant).tokenizer
    config = dataclasses.replace(
        base.tokenizer,
        **{part: getattr(laid, part) for part in ("gaussian", "masking", "latent_masking", "alignment")},
    )
    if scale == "uneven":
        config = dataclasses.replace(
            config, tokens=16, channels=5, encoder=Transformer(12, 2, 3), decoder=Transformer(20, 3, 5)
        )
    with torch.device("meta"):
        tokenizer = Tokenizer(config, base.data.image_size)
    assert config.parameters(base.data.image_size) == sum(p.numel() for p in tokenizer.parameters())


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(VARIANTS, 2)))
def test_variants_of_one_seed_start_from_the_same_weights(one, other):
    a, b = objective_of(one).state_dict(), objective_of(other).state_dict()
    assert {name for name in a.keys() & b.keys() if not torch.equal(a[name], b[name])} == set()


def test_another_seed_starts_from_other_weights():
    a, b = tokenizer_of("mactok", seed=0), tokenizer_of("mactok", seed=1)
    assert not torch.equal(a.to_mean.weight, b.to_mean.weight)


# The tokenizer


def test_patches_are_in_row_order_and_come_back():
    tokenizer, x = tokenizer_of("autoencoder"), images()
    patches = tokenizer.patches(x)
    side, p = tokenizer.side, tokenizer.patch
    for row, column in itertools.product(range(side), repeat=2):
        cut = x[:, :, row * p : (row + 1) * p, column * p : (column + 1) * p]
        assert torch.equal(patches[:, row * side + column], cut.flatten(1))
    assert torch.equal(tokenizer.unpatches(patches), x)


@pytest.mark.parametrize("positions", [positions_1d(256, 32), positions_2d(16, 32)], ids=["1d", "2d"])
def test_every_place_has_a_position_of_its_own(positions):
    assert positions.shape == (1, 256, 32)
    distances = torch.cdist(positions[0].double(), positions[0].double())
    assert (distances + torch.eye(256) * 9).min() > 0.05


def test_positions_2d_are_in_row_order():
    grid = positions_2d(6, 16).view(6, 6, 16)
    assert torch.equal(grid[2, :, :8], grid[2, :1, :8].expand(6, 8))  # one half is the row
    assert torch.equal(grid[:, 2, 8:], grid[:1, 2, 8:].expand(6, 8))  # the other one the column
    assert torch.equal(grid[..., 8:].transpose(0, 1), grid[..., :8])


def test_masked_image_tokens_are_replaced_and_none_dropped():
    tokenizer, x = tokenizer_of("image_masking"), images()
    mask = DRAWS.uniform("mask", BATCH, TOKENS) < 0.5
    seen = Counter(tokenizer.encoder)
    tokenizer.encode(x)
    tokenizer.encode(x, mask)
    whole, masked = seen.calls
    assert masked.shape == whole.shape == (BATCH, TOKENS + 8, 32)
    assert torch.equal(masked[:, TOKENS:], whole[:, TOKENS:])
    assert torch.equal(masked[:, :TOKENS][~mask], whole[:, :TOKENS][~mask])
    token_in_place = (tokenizer.mask_token + tokenizer.image_positions).expand(BATCH, -1, -1)
    assert torch.equal(masked[:, :TOKENS][mask], token_in_place[mask])


def test_nothing_of_a_masked_patch_reaches_the_latents():
    tokenizer, x = tokenizer_of("image_masking"), images()
    mask = torch.zeros(BATCH, TOKENS, dtype=torch.bool)
    mask[:, 9] = True  # second row, second column
    before = tokenizer.encode(x, mask).mean
    x[:, :, 4:8, 4:8] += 1
    assert torch.equal(tokenizer.encode(x, mask).mean, before)
    x[:, :, 4:8, 8:12] += 1
    assert (tokenizer.encode(x, mask).mean != before).flatten(1).any(1).all()


def test_masked_latents_do_not_reach_the_decoder():
    tokenizer = tokenizer_of("latent_masking")
    z = DRAWS.normal("z", BATCH, 8, 4)
    mask = torch.zeros(BATCH, 8, dtype=torch.bool)
    mask[:, 3] = True
    before = tokenizer.decode(z, mask)
    assert not torch.equal(before, tokenizer.decode(z))
    hidden, shown = z.clone(), z.clone()
    hidden[:, 3] += 1
    shown[:, 4] += 1
    assert torch.equal(tokenizer.decode(hidden, mask), before)
    assert not torch.equal(tokenizer.decode(shown, mask), before)
    replaced = z.clone()
    replaced[:, 3] = tokenizer.latent_mask_token.detach()
    assert torch.equal(tokenizer.decode(replaced), before)


def test_finetuning_trains_what_the_images_depend_on_behind_the_latents():
    for variant in VARIANTS:
        tokenizer = tokenizer_of(variant)
        tokenizer.decode(DRAWS.normal("z", BATCH, 8, 4)).square().sum().backward()
        reached = {name for name, p in tokenizer.named_parameters() if p.grad is not None}
        trained = {id(p) for p in tokenizer.decoder_parameters()}
        assert reached == {name for name, p in tokenizer.named_parameters() if id(p) in trained}


def test_kl_is_that_of_torch_and_of_sampling():
    mean = torch.tensor([[[0.0, 1.5, -0.3], [2.0, 0.0, -1.0]]])
    log_variance = torch.tensor([[[0.0, -2.0, 1.0], [-6.0, 0.7, -0.5]]])
    posterior = Posterior(mean, log_variance)
    q, prior = Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)
    torch.testing.assert_close(posterior.kl(), kl_divergence(q, prior))

    draws = 100_000
    z = posterior.sample(DRAWS.normal("z", draws, 2, 3))
    log_ratio = q.log_prob(z) - prior.log_prob(z)
    error = log_ratio.std(0) / math.sqrt(draws)
    assert ((log_ratio.mean(0) - posterior.kl()[0]).abs() <= 4 * error + 1e-6).all()


def test_a_posterior_like_the_prior_has_no_divergence():
    assert not Posterior(torch.zeros(2, 3, 4), torch.zeros(2, 3, 4)).kl().any()


def test_kl_term_is_a_sum_over_dimensions_and_a_mean_over_images():
    objective = objective_of("kl_vae")
    posterior = objective.tokenizer.encode(images())
    q = Normal(posterior.mean, (posterior.log_variance / 2).exp())
    per_image = kl_divergence(q, Normal(0.0, 1.0)).flatten(1).sum(1)
    assert objective(images(), DRAWS, None)["kl"].item() == pytest.approx(per_image.mean().item(), rel=1e-5)


def test_reconstruction_is_a_mean_over_pixels():
    objective, x = objective_of("autoencoder"), images()
    terms = objective.reconstruction_terms(x, x + 0.5)
    assert terms["reconstruction"].item() == pytest.approx(0.25)


def test_a_deterministic_bottleneck_has_no_log_variance():
    posterior = tokenizer_of("autoencoder").encode(images())
    assert posterior.log_variance is None
    assert torch.equal(posterior.sample(DRAWS.normal("z", *posterior.mean.shape)), posterior.mean)
    with pytest.raises(AssertionError, match="no KL"):
        posterior.kl()


@pytest.mark.parametrize(("bias", "bound"), [(1e4, 20.0), (-1e4, -30.0)])
def test_log_variance_is_clamped(bias, bound):
    tokenizer = tokenizer_of("kl_vae")
    nn.init.constant_(tokenizer.to_log_variance.bias, bias)
    posterior = tokenizer.encode(images())
    assert (posterior.log_variance == bound).all()
    assert posterior.sample(DRAWS.normal("z", *posterior.mean.shape)).isfinite().all()
    assert posterior.kl().isfinite().all()


# Alignment


@pytest.mark.parametrize(("local_term", "global_term"), [(True, False), (False, True), (True, True)])
def test_alignment_is_equations_3_to_6(local_term, global_term):
    tokens, latents, channels, patch, whole = 16, 4, 3, 7, 11
    with torch.random.fork_rng():
        torch.manual_seed(0)
        loss = AlignmentLoss(Alignment(local_term, global_term, hidden=16), channels, patch, whole)
    z = DRAWS.normal("z", BATCH, latents, channels)
    p = DRAWS.normal("p", BATCH, tokens, patch)
    teacher = Features(DRAWS.normal("c", BATCH, whole), p, DRAWS.normal("s", BATCH, tokens))

    def cosine(a: Tensor, b: Tensor) -> float:
        return (a @ b / (a.norm() * b.norm())).item()

    values = []
    repeated = z.repeat_interleave(tokens // latents, dim=1)
    for image in range(BATCH):
        cosines = []
        if local_term:
            cosines += [cosine(loss.local_head(repeated[image, i]), teacher.p[image, i]) for i in range(tokens)]
        if global_term:
            cosines += [cosine(loss.global_head(z[image].sum(0) / latents), teacher.c[image])]
        assert len(cosines) == tokens * local_term + global_term
        values.append(-sum(cosines) / len(cosines))
    assert loss(z, teacher).item() == pytest.approx(sum(values) / BATCH, abs=1e-5)


@pytest.mark.parametrize("sign", [1, -1])
def test_alignment_reaches_its_bounds_and_not_beyond(sign):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        loss = AlignmentLoss(Alignment(True, True, hidden=16), 3, 7, 11)
    z = DRAWS.normal("z", BATCH, 4, 3)
    p = 5 * sign * loss.local_head(z).repeat_interleave(4, dim=1)
    c = 0.1 * sign * loss.global_head(z.mean(1))
    assert loss(z, Features(c, p, p[..., 0])).item() == pytest.approx(-sign, abs=1e-6)
    for seed in range(20):
        draws = Draws(seed, "bounds", 0)
        teacher = Features(draws.normal("c", BATCH, 11), draws.normal("p", BATCH, 16, 7), p[..., 0])
        assert -1 <= loss(draws.normal("z", BATCH, 4, 3) * 100, teacher).item() <= 1


@pytest.mark.parametrize(("latents", "depends_on_noise"), [("sample", True), ("mean", False)])
def test_what_is_aligned(latents, depends_on_noise):
    objective = objective_of("mactok", tokenizer__alignment__latents=latents)
    noisy, clean = (objective(images(), d, fake_features()) for d in (DRAWS, NoNoise(0, "tests", 0)))
    assert noisy["reconstruction"] != clean["reconstruction"]
    assert (noisy["alignment"] != clean["alignment"]) == depends_on_noise


@pytest.mark.parametrize("variant", WITH_TEACHER)
def test_a_vit_is_a_teacher_too(variant):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        teacher = TinyViT()
    features = teacher(images())
    objective = objective_of(variant, widths=(VIT_WIDTH, VIT_WIDTH))
    terms = objective(images(), DRAWS, features)
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


# Frozen networks


def test_frozen_networks_stay_in_evaluation_mode_and_learn_nothing(net):
    objective = objective_of("mactok", PerceptualDistance(net))
    objective.train()
    assert objective.tokenizer.training
    assert not any(module.training for module in net.modules())
    before = {name: value.clone() for name, value in net.state_dict().items()}
    terms = objective(images(), DRAWS, fake_features())
    total(objective, terms).backward()
    assert all(p.grad is None and not p.requires_grad for p in net.parameters())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert objective(images(), DRAWS, fake_features())["perceptual"].item() == terms["perceptual"].item()


def test_perceptual_distance_teaches_the_reconstruction(net):
    x, reconstruction = images(), (images() * 0.5).requires_grad_()
    distance = PerceptualDistance(net)
    assert distance(x, x).item() == pytest.approx(0, abs=1e-6)
    value = distance(x, reconstruction)
    value.backward()
    assert value > 0
    assert reconstruction.grad.isfinite().all()
    assert reconstruction.grad.any()


def test_perceptual_distance_of_a_share_of_the_batch(net):
    x, reconstruction = images(4), images(4).flip(-1)
    distance = PerceptualDistance(net, batch_share=0.5)
    assert distance(x, reconstruction).item() == pytest.approx(
        PerceptualDistance(net)(x[:2], reconstruction[:2]).item()
    )
    assert PerceptualDistance(net, batch_share=0.01)(x, reconstruction).item() > 0  # one image at least


@pytest.mark.parametrize(("warmup_steps", "shares"), [(0, [1, 1, 1]), (4, [0.25, 0.5, 1])])
def test_perceptual_weight_warms_up(warmup_steps, shares):
    objective = objective_of(
        "mactok", tokenizer__perceptual__warmup_steps=warmup_steps, tokenizer__perceptual__weight=3.0
    )
    assert [objective.weights(step)["perceptual"] / 3 for step in (0, 1, 7)] == pytest.approx(shares)


def test_teacher_features_of_a_network(net):
    c, p, s = teacher_features(net.train(), images(2), 8)
    assert (c.shape, p.shape, s.shape) == ((2, WIDTHS[1]), (2, TOKENS, WIDTHS[0]), (2, TOKENS))
    assert all(f.isfinite().all() and not f.requires_grad and f.dtype == torch.float32 for f in (c, p, s))
    again = teacher_features(net.train(), images(2), 8)
    assert all(torch.equal(one, other) for one, other in zip((c, p, s), again, strict=True))
    stage = net.stages(resized(images(2), 128), 4)[-1]
    assert torch.equal(p[:, 8 * 3 + 5], stage[:, :, 3, 5])


def test_network_input_is_what_the_network_was_trained_on():
    values = torch.arange(256.0)
    torch.testing.assert_close(network_input(values / 127.5 - 1), (values - 127) / 128)


def test_resized_keeps_the_range():
    x = torch.sign(images())
    assert resized(x, SIDE) is x
    larger = resized(x, 128)
    assert larger.shape == (BATCH, 3, 128, 128)
    assert larger.abs().max() == 1


# Scores


def test_norm_score_is_standardised():
    p, deep = DRAWS.normal("p", BATCH, 5, 8, 8), DRAWS.normal("deep", BATCH, 7, 4, 4)
    s = norm_score(p, deep)
    assert s.shape == (BATCH, 64)
    torch.testing.assert_close(s.mean(1), torch.zeros(BATCH), atol=1e-5, rtol=0)
    brighter = torch.arange(1.0, BATCH + 1)[:, None, None, None]
    torch.testing.assert_close(norm_score(p * brighter, deep / brighter), s, atol=1e-4, rtol=1e-4)
    alone = norm_score(p, torch.ones_like(deep))
    torch.testing.assert_close(alone.std(1), torch.ones(BATCH))
    norms = p.square().sum(1).sqrt().flatten(1)
    assert np.corrcoef(alone[0].numpy(), norms[0].numpy())[0, 1] == pytest.approx(1, abs=1e-5)


def test_norm_score_is_high_where_the_maps_are_strong():
    p, deep = torch.ones(1, 5, 8, 8), torch.ones(1, 7, 4, 4)
    p[0, :, 2, 5] = 9
    assert norm_score(p, deep).argmax() == 2 * 8 + 5
    assert norm_score(torch.ones_like(p), torch.ones_like(deep)).abs().max() == 0
    deep[0, :, 3, 0] = 9  # the corner at the bottom left
    quarters = norm_score(torch.ones_like(p), deep).view(2, 4, 2, 4).mean((1, 3))
    assert quarters.argmax() == 2


def test_cosine_score():
    c = torch.tensor([[1.0, 0.0], [3.0, 4.0]])
    p = torch.tensor([[[2.0, 0.0], [0.0, 1.0], [-5.0, 0.0]], [[3.0, 4.0], [4.0, 3.0], [4.0, -3.0]]])
    torch.testing.assert_close(cosine_score(c, p), torch.tensor([[1.0, 0.0, -1.0], [1.0, 0.96, 0.0]]))


# Attention


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.03)])
def test_attention_is_scaled_dot_product_attention(dtype, tolerance):
    q, k, v = (DRAWS.normal(name, 2, 3, 17, 8).to(dtype) for name in "qkv")
    found = attention(q, k, v)
    assert found.dtype == dtype
    exact = functional.scaled_dot_product_attention(q.double(), k.double(), v.double())
    torch.testing.assert_close(found.double(), exact, atol=tolerance, rtol=0)


def test_image_mask_of_the_objective_is_that_of_the_law():
    objective = objective_of("mactok")
    seen = Counter(objective.tokenizer.encoder)
    objective(images(), DRAWS, fake_features())
    tokenizer = objective.tokenizer
    hidden = (seen.calls[0][:, :TOKENS] == tokenizer.mask_token + tokenizer.image_positions).all(-1)
    assert torch.equal(hidden, image_mask(objective.config.masking, DRAWS, BATCH, TOKENS, fake_features().s))
