from __future__ import annotations

import copy
import dataclasses
import io

import pytest
import torch
from torch import Tensor, nn

from harness.experiments.experiment import Training
from harness.planning.stage import Diverged
from harness.system.machine import Machine
from harness.system.processes import ALONE, Processes
from harness.system.randomness import WHOLE, Draws, Part
from harness.training.adversary import VIEWS, Adversary
from harness.training.optimizer import learning_rate
from models.config import Adversarial
from models.frozen.efficientnet import EfficientNet
from models.objectives.diffaug import augmented
from models.objectives.discriminator import Discriminator, LiteReadouts
from tests.conftest import SIDE, images

CONFIG = Adversarial(
    on=True, features="efficientnet_lite0", start_step=2, learning_rate=1e-3, lecam=0.5, lecam_decay=0.75
)
TRAINING = Training(steps=20, batch_images=8, learning_rate=5e-3, warmup_steps=4, final_ratio=0.1)
MACHINE = Machine("cpu", "float32", 1)


class Decoder(nn.Module):
    """A tokenizer of one layer: every pixel's colours from noise of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Parameter(torch.eye(3) * 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("ij,bjhw->bihw", self.last, x)


def adversary(net: EfficientNet, decoder: Decoder | None = None, machine: Machine = MACHINE, **fields) -> Adversary:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        discriminator = Discriminator(LiteReadouts(net))
    config = dataclasses.replace(CONFIG, **fields)
    return Adversary(config, discriminator, TRAINING, machine, (decoder or Decoder()).last)


def draws(step: int, part: Part = WHOLE) -> Draws:
    return Draws(0, "tokenizer", step, part=part)


def batch(step: int, count: int = 4) -> tuple[Tensor, Tensor]:
    """Images and what stands for their reconstructions."""
    d = draws(step)
    x = d.uniform("x", count, 3, SIDE, SIDE) * 2 - 1
    return x, (x + 0.5 * d.normal("error", *x.shape)).clamp(-1, 1)


def learn(a: Adversary, step: int, of: int = 1, processes: Processes = ALONE) -> dict[str, float]:
    """One step of the discriminator in parts; the means of its terms."""
    found = gradients(a, step, [Part(index, of) for index in range(of)])
    a.update(step, tensors(found), processes)
    return found


def gradients(a: Adversary, step: int, parts: list[Part]) -> dict[str, float]:
    values = [a.learn(*(part(y) for y in batch(step)), draws(step, part), len(parts)) for part in parts]
    assert not any(value.requires_grad for terms in values for value in terms.values())
    return {name: sum(terms[name].item() for terms in values) / len(parts) for name in values[0]}


def tensors(values: dict[str, float]) -> dict[str, Tensor]:
    return {name: torch.tensor(value) for name, value in values.items()}


def flat(a: Adversary) -> Tensor:
    return torch.cat([p.grad.flatten() for p in a.discriminator.parameters()])


def weights(a: Adversary) -> Tensor:
    return torch.cat([value.flatten() for value in a.discriminator.state_dict().values()])


def test_the_discriminator_starts_at_its_step(net):
    assert [adversary(net).started(step) for step in range(4)] == [False, False, True, True]


# The tokenizer's side


def test_the_term_asks_for_higher_logits_of_augmented_reconstructions(net):
    a, (_, reconstruction) = adversary(net), batch(0)
    direct, ours = reconstruction.clone().requires_grad_(), reconstruction.clone().requires_grad_()
    expected = -a.discriminator(augmented(direct, draws(0), VIEWS[0])).mean()
    expected.backward()
    a.optimizer.zero_grad()
    term = a.term(ours, draws(0))
    (2 * term).backward()
    assert term.item() == expected.item()
    torch.testing.assert_close(ours.grad, 2 * direct.grad, atol=1e-8, rtol=1e-5)
    assert ours.grad.any()


def test_the_term_gives_the_heads_no_gradient(net):
    a = adversary(net)
    decoder = Decoder()
    term = a.term(decoder(images(2)), draws(0))
    term.backward()
    assert decoder.last.grad.any()
    assert all(p.grad is None and p.requires_grad for p in a.discriminator.parameters())


def test_adaptive_weight_over_two_steps(net):
    decoder = Decoder()
    a = adversary(net, decoder)
    for step in range(2):
        x, _ = batch(step)
        reconstruction = decoder(x)
        loss = 3 * (reconstruction - x).square().mean()
        term = a.term(reconstruction, draws(step))
        weight = a.balance({"reconstruction": loss, "kl": term}, term)
        assert decoder.last.grad is None
        assert not weight.requires_grad
        # d loss / d W = 6 mean((W x - x) xᵀ)
        error = (reconstruction - x).detach()
        of_loss = 6 * torch.einsum("bihw,bjhw->ij", error, x) / x.numel()
        term.backward(retain_graph=True)
        expected = of_loss.norm() / (decoder.last.grad.norm() + 1e-4)
        assert weight.item() == pytest.approx(expected.item(), rel=1e-4)
        decoder.last.grad = None
        (loss + weight * term).backward()
        with torch.no_grad():
            decoder.last -= 0.1 * decoder.last.grad
        decoder.last.grad = None
        learn(a, step)


def test_a_fixed_weight_is_one(net):
    decoder = Decoder()
    term = adversary(net, decoder).term(decoder(images(1)), draws(0))
    assert adversary(net, decoder, adaptive=False).balance({"reconstruction": term}, term).item() == 1


# The discriminator's side


def test_terms_and_averages_over_two_steps(net):
    a = adversary(net)
    means, decay = [], CONFIG.lecam_decay
    for step in range(3):
        x, fake = batch(step)
        first, second = (
            [a.discriminator(augmented(y, draws(step), name)).detach() for y in (x, fake)] for name in VIEWS
        )
        before = a.averages
        found = learn(a, step)
        means.append((first[0].mean().item(), first[1].mean().item()))
        assert (found["logits_real"], found["logits_fake"]) == pytest.approx(means[-1], rel=1e-4)
        hinge = (1 - first[0]).clamp(min=0).mean() + (1 + first[1]).clamp(min=0).mean()
        assert found["discriminator"] == pytest.approx(hinge.item(), rel=1e-4)
        change = (first[0] - second[0]).square().mean() + (first[1] - second[1]).square().mean()
        assert found["consistency"] == pytest.approx(change.item(), rel=1e-4)
        if before is None:
            assert found["lecam"] == 0
            continue
        real, fake = before
        lecam = (first[0] - fake).clamp(min=0).square().mean() + (real - first[1]).clamp(min=0).square().mean()
        assert found["lecam"] == pytest.approx(lecam.item(), rel=1e-4)
    for i in range(2):
        after_two = decay * means[0][i] + (1 - decay) * means[1][i]
        assert a.averages[i] == pytest.approx(decay * after_two + (1 - decay) * means[2][i], rel=1e-4)


def test_the_gradient_is_that_of_the_weighted_terms(net):
    a, b = adversary(net), adversary(net, consistency=0.0, lecam=0.0)
    a.averages = b.averages = (torch.tensor(0.3), torch.tensor(-0.2))
    (x, fake), c = batch(0), CONFIG
    found, plain = (gradients(one, 0, [WHOLE]) for one in (a, b))
    assert plain["consistency"] == 0
    assert plain["discriminator"] == pytest.approx(found["discriminator"], rel=1e-5)
    direct = adversary(net)
    views = [
        [direct.discriminator(augmented(y, draws(0), f"{n} view")) for y in (x, fake)] for n in ("first", "second")
    ]
    (real, deceived), (real_again, deceived_again) = views
    hinge = (1 - real).clamp(min=0).mean() + (1 + deceived).clamp(min=0).mean()
    change = (real - real_again).square().mean() + (deceived - deceived_again).square().mean()
    lecam = (real + 0.2).clamp(min=0).square().mean() + (0.3 - deceived).clamp(min=0).square().mean()
    hinge.backward(retain_graph=True)
    torch.testing.assert_close(flat(b), flat(direct), atol=1e-6, rtol=1e-4)
    (c.consistency * change + c.lecam * lecam).backward()
    torch.testing.assert_close(flat(a), flat(direct), atol=1e-5, rtol=1e-4)


def test_learning_leaves_the_tokenizer_alone(net):
    decoder = Decoder()
    a, x = adversary(net, decoder), images(2)
    a.learn(x, decoder(x), draws(0), 1)
    assert decoder.last.grad is None
    assert all(p.grad is None for p in net.parameters())


def test_parts_do_not_matter(net):
    whole, split = adversary(net), adversary(net)
    for step in range(3):
        one = gradients(whole, step, [WHOLE])
        four = gradients(split, step, [Part(index, 4) for index in range(4)])
        torch.testing.assert_close(flat(split), flat(whole), atol=1e-5, rtol=1e-4)
        assert four == pytest.approx(one, abs=1e-5)
        whole.update(step, tensors(one), ALONE)
        split.update(step, tensors(four), ALONE)
        torch.testing.assert_close(split.averages, whole.averages, atol=1e-5, rtol=0)
        split.load_state_dict(copy.deepcopy(whole.state_dict()))  # Adam makes much of what rounding does to a 0


class Pair(Processes):
    """Two processes, of which the other has `there` where this one has a tensor."""

    there: Tensor

    def mean(self, tensor: Tensor) -> Tensor:
        return (tensor + self.there) / 2


def test_processes_do_not_matter(net):
    whole, here, there = (adversary(net) for _ in range(3))
    found = gradients(whole, 2, [WHOLE])
    for index, a in enumerate((here, there)):
        gradients(a, 2, [Part(index, 2)])
    pair = Pair(0, 2)
    object.__setattr__(pair, "there", flat(there).clone())
    whole.update(2, tensors(found), ALONE)
    here.update(2, tensors(found), pair)
    moments = [torch.cat([s["exp_avg"].flatten() for s in a.optimizer.state.values()]) for a in (whole, here)]
    assert moments[0].any()
    torch.testing.assert_close(moments[1], moments[0], atol=1e-6, rtol=1e-3)


def test_an_update_is_clipped_at_the_rate_of_its_step(net):
    a, b = adversary(net), adversary(net)
    found, _ = (gradients(one, 7, [WHOLE]) for one in (a, b))
    norm = flat(a).norm()
    assert norm > TRAINING.clip_norm
    parameters = list(b.discriminator.parameters())
    rate = learning_rate(TRAINING, 7) * CONFIG.learning_rate / TRAINING.learning_rate
    betas = (TRAINING.beta1, TRAINING.beta2)
    optimizer = torch.optim.AdamW(parameters, lr=rate, betas=betas, weight_decay=TRAINING.weight_decay)
    for p in parameters:
        p.grad *= TRAINING.clip_norm / norm
    clipped = flat(b)
    optimizer.step()
    b.discriminator.power_iteration()
    a.update(7, tensors(found), ALONE)
    moments = torch.cat([state["exp_avg"].flatten() for state in a.optimizer.state.values()])
    torch.testing.assert_close(moments, (1 - TRAINING.beta1) * clipped, atol=1e-7, rtol=1e-4)
    torch.testing.assert_close(weights(a), weights(b), atol=1e-5, rtol=1e-4)
    for name in ("betas", "weight_decay"):  # which a first step does not tell
        assert a.optimizer.param_groups[0][name] == optimizer.param_groups[0][name]
    assert all(p.grad is None for p in a.discriminator.parameters())


def test_a_gradient_that_is_not_finite_ends_the_training(net):
    a, (x, fake) = adversary(net), batch(5)
    fake[0, 0, 0, 0] = float("nan")
    found = {name: value.item() for name, value in a.learn(x, fake, draws(5), 1).items()}
    a.update(5, tensors(found), ALONE)
    with pytest.raises(Diverged, match="discriminator is not finite at step 5"):
        a.divergence.check()


@pytest.mark.parametrize("stop", [0, 1, 3])
def test_a_restored_one_goes_on_bit_for_bit(stop, net):
    undisturbed, stopped = adversary(net), adversary(net)
    for step in range(stop):
        learn(undisturbed, step)
        learn(stopped, step)
    file = io.BytesIO()
    torch.save(stopped.state_dict(), file)
    file.seek(0)
    restored = adversary(net)
    with torch.no_grad():  # as if of other weights
        for value in restored.discriminator.state_dict().values():
            value += 1
    restored.load_state_dict(torch.load(file, weights_only=True))
    for step in range(stop, stop + 3):
        assert learn(restored, step) == learn(undisturbed, step)
        terms = [a.term(batch(step)[1].requires_grad_(), draws(step)) for a in (restored, undisturbed)]
        assert torch.equal(*terms)
    assert torch.equal(weights(restored), weights(undisturbed))
    assert restored.averages == undisturbed.averages
    for name in ("exp_avg", "exp_avg_sq", "step"):
        ours, theirs = ([s[name] for s in a.optimizer.state.values()] for a in (restored, undisturbed))
        assert all(torch.equal(*pair) for pair in zip(ours, theirs, strict=True))


def test_it_learns_to_tell_and_the_tokenizer_to_deceive(net):
    """Images are smooth, reconstructions noise."""
    a = adversary(net, learning_rate=5e-3, consistency=0.1, lecam=0.001)
    ramp = torch.linspace(-1, 1, SIDE).expand(4, 3, SIDE, SIDE)

    def pair(step: int) -> tuple[Tensor, Tensor]:
        noise = draws(step).normal("noise", 2, 4, 3, SIDE, SIDE)
        return ramp + 0.1 * noise[0], 0.5 * noise[1]

    for step in range(12):
        terms = a.learn(*pair(step), draws(step), 1)
        a.update(step, terms, ALONE)
        if step == 0:
            first = terms
    real, fake = (a.discriminator(y).mean().item() for y in pair(99))
    assert first["discriminator"] > 2 > 1.4 > terms["discriminator"]
    assert real - fake > 0.8
    deceiver = pair(99)[1].requires_grad_()
    for _ in range(5):
        (gradient,) = torch.autograd.grad(a.term(deceiver, draws(99)), deceiver)
        deceiver = (deceiver - gradient / gradient.abs().mean() * 0.05).detach().requires_grad_()
    assert a.discriminator(deceiver).mean() > fake + 0.1


def test_the_lower_precision_of_the_machine_is_used(net):
    lower = adversary(net, machine=Machine("cpu", "bfloat16", 1))
    x, fake = batch(0)
    fake.requires_grad_()
    low, full = (a.term(fake, draws(0)) for a in (lower, adversary(net)))
    assert low.dtype == torch.float32
    assert low.item() != full.item()
    assert low.item() == pytest.approx(full.item(), abs=0.05)
    (gradient,) = torch.autograd.grad(low, fake)
    assert gradient.dtype == torch.float32 and gradient.isfinite().all() and gradient.any()
    terms = lower.learn(x, fake, draws(0), 1)
    assert terms["logits_real"] != adversary(net).learn(x, fake, draws(0), 1)["logits_real"]
    lower.update(0, terms, ALONE)
    assert weights(lower).isfinite().all()


def test_a_term_within_autocast_is_that_without(net):
    lower = adversary(net, machine=Machine("cpu", "bfloat16", 1))
    within, without = (batch(0)[1].requires_grad_() for _ in range(2))
    with lower.machine.autocast():
        term = lower.term(within, draws(0))
    term.backward()
    lower.term(without, draws(0)).backward()
    assert torch.equal(within.grad, without.grad)
