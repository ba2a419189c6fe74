"""The discriminator that trains beside a tokenizer."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from harness.experiments.experiment import Training
from harness.planning.stage import Work
from harness.system.machine import Machine
from harness.system.processes import Processes
from harness.training.divergence import Divergence
from harness.training.optimizer import adamw, learning_rate
from models.config import Adversarial
from models.objectives import discriminator as losses
from models.objectives.diffaug import augmented
from models.objectives.discriminator import Discriminator
from models.objectives.masking import Draws
from models.objectives.objective import IMAGE_TERMS

if TYPE_CHECKING:
    from models.autoencoders.tokenizer import Tokenizer


VIEWS = ("first view", "second view")  # the augmentations; the second is for consistency alone


class Adversary:
    """A discriminator, its optimiser and the moving averages of its logits.

    Betas, weight decay, clipping and the shape of the learning rate are those of the tokenizer's `training`; its peak
    comes from `config`. `last` is the weight of the decoder's last layer. A step calls `term`, `balance` and `learn`
    for every part, and then `update` once.
    """

    def __init__(
        self,
        config: Adversarial,
        discriminator: Discriminator,
        training: Training,
        machine: Machine,
        last: Tensor,
    ):
        self.config, self.discriminator, self.machine, self.last = config, discriminator, machine, last
        self.training = dataclasses.replace(training, learning_rate=config.learning_rate)
        self.optimizer = adamw(self.training, list(discriminator.parameters()))
        self.averages: tuple[Tensor, Tensor] | None = None  # of the mean logits of images and of reconstructions
        self.read: list[Tensor] = []  # the features of reconstructions, between `term` and `learn`
        self.divergence = Divergence("the gradient of the discriminator", machine.device)

    def started(self, step: int) -> bool:
        """Whether the discriminator learns, and its term counts, at `step` (from 0)."""
        return step >= self.config.start_step

    def term(self, reconstruction: Tensor, draws: Draws) -> Tensor:
        """The tokenizer's unweighted term for reconstructions (B, 3, H, H). The heads get no gradient.

        The gradient with respect to the reconstruction is computed here, once. This frees the activations of the
        features, and the adaptive weight needs no second backward pass through them.
        """
        leaf = reconstruction.detach().requires_grad_()
        with self.machine.autocast():
            self.read = self.discriminator.features(augmented(leaf, draws, VIEWS[0]))
            value = losses.generator_hinge(self.discriminator.judge(self.read))
        with torch.autocast(self.machine.device, enabled=False):  # float32 gradients would lose precision
            (gradient,) = torch.autograd.grad(value, leaf)
        return value.detach() + (gradient * (reconstruction - leaf.detach())).sum()  # the same value: the sum is 0

    def balance(self, weighted: dict[str, Tensor], term: Tensor) -> Tensor:
        """The adaptive weight of `term` (Esser et al. 2021).

        It balances its gradient and that of the terms of images at the last layer, and is 1 if `config.adaptive` is
        off. `weighted` holds the terms of the loss times their weights. All terms can still be differentiated
        afterwards.
        """
        if not self.config.adaptive:
            return torch.ones_like(term)
        of_images = torch.stack([weighted[name] for name in IMAGE_TERMS if name in weighted]).sum()
        gradients = (torch.autograd.grad(loss, self.last, retain_graph=True)[0] for loss in (of_images, term))
        return losses.adaptive_weight(*gradients)

    def learn(self, x: Tensor, reconstruction: Tensor, draws: Draws, parts: int) -> dict[str, Tensor]:
        """Adds the gradients of the heads for one of `parts` parts of a step; returns the unweighted terms of the part.

        `discriminator` is the hinge loss, `logits_real` and `logits_fake` are means. The LeCAM term uses the averages
        of earlier steps; it is 0 in the first step, which has none. The features that `term` read of the
        reconstructions are used again.
        """
        c = self.config
        images = [augmented(x, draws, VIEWS[0])]
        if not self.read:
            with self.machine.autocast(), torch.no_grad():
                self.read = self.discriminator.features(augmented(reconstruction.detach(), draws, VIEWS[0]))
        if c.consistency:
            images += [augmented(image, draws, VIEWS[1]) for image in (x, reconstruction.detach())]
        with self.machine.autocast(), torch.no_grad():
            read = self.discriminator.features(torch.cat(images))
        read = [torch.cat([a[: len(x)], b.detach(), a[len(x) :]]) for a, b in zip(read, self.read, strict=True)]
        self.read = []
        with self.machine.autocast():
            logits = self.discriminator.judge(read)
        real, fake, *again = logits.split(len(x))
        none = logits.new_zeros(())
        terms = {
            "discriminator": losses.hinge(real, fake),
            "consistency": losses.consistency(real, fake, *again) if again else none,
            "lecam": losses.lecam(real, fake, *self.averages) if self.averages else none,
        }
        loss = terms["discriminator"] + c.consistency * terms["consistency"] + c.lecam * terms["lecam"]
        (loss / parts).backward()
        terms |= {"logits_real": real.mean(), "logits_fake": fake.mean()}
        return {name: value.detach() for name, value in terms.items()}

    def update(self, step: int, terms: dict[str, Tensor], processes: Processes) -> None:
        """Ends a step: updates the heads, their spectral norms and the averages, once each.

        `terms` are the terms of `learn`, as means over all parts of all processes.
        """
        parameters = list(self.discriminator.parameters())
        _average_gradients(parameters, processes)
        self.divergence.watch(step, nn.utils.clip_grad_norm_(parameters, self.training.clip_norm))
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.training, step)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.discriminator.power_iteration()
        self._observe(terms["logits_real"], terms["logits_fake"])

    def _observe(self, real: Tensor, fake: Tensor) -> None:
        """Updates the averages. They start at the first means: a start at 0 would bias them for many steps."""
        before, share = self.averages or (real, fake), 1 - self.config.lecam_decay
        self.averages = before[0] + share * (real - before[0]), before[1] + share * (fake - before[1])

    def state_dict(self) -> dict[str, Any]:
        """Everything that an exact resume needs, as tensors and plain values. Call it between steps, not within one."""
        return {
            "heads": self.discriminator.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "averages": self.averages,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores the state that `state_dict` returned."""
        self.discriminator.load_state_dict(state["heads"])
        self.optimizer.load_state_dict(state["optimizer"])
        averages = state["averages"]
        self.averages = averages and (self.machine.put(averages[0]), self.machine.put(averages[1]))


def _average_gradients(parameters: list[nn.Parameter], processes: Processes) -> None:
    """Replaces every gradient by its mean over the processes, in one exchange."""
    if processes.size == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    mean = processes.mean(torch.cat([g.flatten() for g in gradients])).split([g.numel() for g in gradients])
    torch._foreach_copy_(gradients, [part.view_as(g) for part, g in zip(mean, gradients, strict=True)])


DISCRIMINATOR = "discriminator.safetensors"


def adversary(work: Work, tokenizer: Tokenizer, training: Training, steps_before: int = 0) -> Adversary | None:
    """The discriminator that trains beside `tokenizer`, or None if the experiment has none.

    If the stage reads a tokenizer, the heads continue from the heads of that run. `steps_before` is the number of steps
    of the training that this one continues.
    """
    import dataclasses

    from harness.networks import weights
    from harness.networks.roles import Roles
    from harness.system.randomness import seeded
    from models.objectives.discriminator import Discriminator

    config = work.experiment.tokenizer.adversarial
    if not config.on:
        return None
    features = Roles(work.experiment).discriminator_features(work.machine)  # before seeding, as it draws numbers
    with seeded(work.experiment.seed, "tokenizer", "discriminator"):
        discriminator = Discriminator(features).to(work.machine.device)
    if "tokenizer" in work.inputs:
        weights.load(work.inputs["tokenizer"], DISCRIMINATOR, discriminator)
    config = dataclasses.replace(config, start_step=max(0, config.start_step - steps_before))
    return Adversary(config, discriminator, training, work.machine, tokenizer.last_layer)
