from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

from harness.experiments.fields import with_fields
from harness.experiments.scales import SCALES, with_variant
from harness.networks import weights
from harness.store.runs import Store
from models import tokenizers
from models.autoencoders.posterior import Posterior
from models.autoencoders.tokenizer import Tokenizer, patches, unpatches
from models.config import Transformer
from models.variants import VARIANTS
from tests.conftest import BATCH, DRAWS, SIDE, TOKENS, Counter, experiment, images


def tokenizer_of(variant: str, seed: int = 0, **fields: object) -> Tokenizer:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return tokenizers.network(experiment(variant, **fields).tokenizer, SIDE)


@pytest.mark.parametrize("variant", VARIANTS)
def test_shapes(variant):
    config, form = experiment(variant).tokenizer, experiment(variant).latents
    tokenizer = tokenizer_of(variant)
    posterior = tokenizer.encode(images())
    for numbers in (posterior.mean, posterior.log_variance, posterior.before):
        if numbers is not None:
            assert numbers.shape == (BATCH, form.tokens, form.channels)
            assert numbers.dtype == torch.float32
    assert (posterior.log_variance is not None) == config.gaussian.on
    assert (posterior.codes is not None) == (config.codes.on or config.soft_codes.on)
    assert form.numbers == config.numbers
    assert form.side is None or form.side**2 == form.tokens
    assert tokenizer.decode(posterior.mean).shape == (BATCH, 3, SIDE, SIDE)


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


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_parameter_count(variant, scale):
    laid = with_variant(SCALES[scale].experiment, variant)
    with torch.device("meta"):
        tokenizer = tokenizers.network(laid.tokenizer, laid.data.image_size)
    assert laid.tokenizer_parameters == sum(p.numel() for p in tokenizer.parameters())


@pytest.mark.parametrize("variant", [name for name, v in VARIANTS.items() if "name" not in v.fields])
def test_parameter_count_of_uneven_sizes(variant):
    sizes = {"encoder": Transformer(12, 2, 3), "decoder": Transformer(20, 3, 5)}
    config = dataclasses.replace(experiment(variant).tokenizer, tokens=16, channels=5, **sizes)
    with torch.device("meta"):
        tokenizer = tokenizers.network(config, SIDE)
    assert tokenizers.parameters(config, SIDE) == sum(p.numel() for p in tokenizer.parameters())


PUBLISHED = {"detok": 171.7, "va_vae": 69.8, "mar_vae": 66.5, "sd_vae": 83.7, "softvq": 173.6, "maetok": 173.9}


@pytest.mark.parametrize("variant", PUBLISHED)
def test_peers_have_their_published_size(variant):
    """In millions, within 1 %: the released ViTs hold a patch embedding in the decoder that nothing uses."""
    laid = with_variant(SCALES["paper256"].experiment, variant)
    twice = {"tokenizer.channels": 64} if variant == "va_vae" else {}
    assert with_fields(laid, twice).tokenizer_parameters == pytest.approx(1e6 * PUBLISHED[variant], rel=0.01)


def test_another_seed_starts_from_other_weights():
    a, b = tokenizer_of("mactok", seed=0), tokenizer_of("mactok", seed=1)
    assert not torch.equal(a.to_mean.weight, b.to_mean.weight)


def test_patches_are_in_row_order_and_come_back():
    tokenizer, x = tokenizer_of("autoencoder"), images()
    tokens = patches(x, tokenizer.side)
    side, p = tokenizer.side, tokenizer.patch
    for row, column in itertools.product(range(side), repeat=2):
        cut = x[:, :, row * p : (row + 1) * p, column * p : (column + 1) * p]
        assert torch.equal(tokens[:, row * side + column], cut.flatten(1))
    assert torch.equal(unpatches(tokens, side), x)


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
        tokenizer.decode(DRAWS.normal("z", BATCH, *experiment(variant).latents[:2])).square().sum().backward()
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
