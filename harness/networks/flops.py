"""Model FLOPs of every network, of training and of drawing latents, from configurations only: no torch, no weights.

A multiplication and an addition count as two. Only matrix products, convolutions and attention count, as in
torch.utils.flop_counter. The functions of networks count the forward pass for one image. Training a network takes
`TRAINED` times as much, passing gradients through a frozen network `PASSED` times. Recomputation to save memory and
validation during training do not count.
"""

from __future__ import annotations

from harness.experiments.experiment import UNGUIDED, Evaluation, Experiment, Guide, Sampling
from harness.networks import roles, teachers
from models import costs, generators, tokenizers
from models.config import HOG_NUMBERS, SIZES, Adversarial, Alignment, Tokenizer, Transformer
from models.config.terms import PATCHGAN_KERNEL, PATCHGAN_LAYERS
from models.forms import Latents

TRAINED = 3  # forward pass, gradient of the input, gradient of the weights
PASSED = 2  # forward pass, gradient of the input

# Counted by torch, per pixel of images whose side is a multiple of 32 px: stem, stages 0 to 6, head. Only the first two
# stages of Lite1 are used.
EFFICIENTNET_LITE = {
    0: (768, 400, 2274, 1561.5, 1747.5, 3428.25, 3648, 1172.25, 800),
    1: (768, 400, 3300),
    2: (768, 400, 3300, 2988, 2955.375, 5433, 5317.875, 1386.9375, 880),
}
EFFICIENTNET_CLASSIFIER = 2 * 1280 * 1000
VGG16 = 611_712  # per pixel: its 13 convolutions
INCEPTION = 11_426_464_960  # at 299 px

DINOV2 = {name: size for size, name in roles.ENCODERS.items()}
DINOV2_PATCH = 14  # px
VIT_S16 = SIZES["S"]

DINO_PX, DINO_READOUTS = 224, 5
LITE_PX, LITE_READOUTS = 64, {4: 24, 8: 40, 16: 112}  # smallest side; strides and widths of stages 1, 2 and 4
HEAD_KERNELS = 1 + 9  # the two convolutions of a discriminator's head that keep the width


def linear(tokens: int, inputs: int, outputs: int) -> float:
    """A linear layer on `tokens` tokens."""
    return costs.linear(tokens, inputs, outputs).flops


def blocks(size: Transformer, tokens: int) -> float:
    """Transformer blocks on `tokens` tokens. A block has 12 D² weights, with an MLP of two layers or SwiGLU's three."""
    return costs.blocks(size, tokens).flops


def vit(size: Transformer, patches: int, patch_px: int) -> float:
    """A vision transformer on `patches` patches and a class token."""
    return linear(patches, 3 * patch_px**2, size.width) + blocks(size, patches + 1)


def efficientnet_lite(size: int, side: int, parts: int) -> float:
    """The first `parts` of EfficientNet-Lite at `side` px: stem, seven stages, head."""
    return side**2 * sum(EFFICIENTNET_LITE[size][:parts])


def head(tokens: int, inputs: int, hidden: int, outputs: int) -> float:
    """Three linear layers, `models.objectives.alignment.head`, on `tokens` tokens."""
    return linear(tokens, inputs, hidden) + linear(tokens, hidden, hidden) + linear(tokens, hidden, outputs)


# Tokenizers


def heads(experiment: Experiment) -> float:
    """The heads of the terms that compare latents with a teacher."""
    t, form, spec = experiment.tokenizer, experiment.latents, teachers.teacher(experiment.teacher)
    total = alignment(t.alignment, form, spec.patch_width, spec.class_width)
    if t.auxiliary.on:
        n = t.image_tokens(experiment.data.image_size)
        total += sum(auxiliary(t.auxiliary.size, n, form, width) for width in (HOG_NUMBERS, spec.patch_width))
    if t.foundation.on:
        pairs = form.tokens**2
        total += linear(form.tokens, form.channels, spec.patch_width) + 4.0 * pairs * spec.patch_width
    return total


def auxiliary(size: Transformer, patches: int, form: Latents, features: int) -> float:
    """A decoder of features of `patches` patches."""
    modulation = linear(form.tokens, form.channels, 4 * size.depth * size.width)
    read = linear(form.tokens, form.channels, size.width) + linear(patches, size.width, features)
    return read + modulation + blocks(size, 1 + patches + form.tokens)


def alignment(a: Alignment, form: Latents, patch_width: int, class_width: int) -> float:
    """The heads from latents to the teacher's widths."""
    local = head(form.tokens, form.channels, a.hidden, patch_width) if a.local_term else 0
    return local + (head(1, form.channels, a.hidden, class_width) if a.global_term else 0)


def teacher(name: str, patches: int) -> float:
    """A teacher for a grid of `patches` x `patches` image tokens."""
    if name in DINOV2:
        return vit(DINOV2[name], patches**2, DINOV2_PATCH)
    if name in ("efficientnet_lite0", "random"):
        return efficientnet_lite(0, 16 * patches, parts=9)
    return teachers.teacher(name).flops


def perceptual(tokenizer: Tokenizer, image_size: int) -> float:
    """The features of one of the two images that the perceptual distance compares."""
    if tokenizer.perceptual.lpips:
        return image_size**2 * VGG16
    return efficientnet_lite(1, image_size, parts=3)


def discriminator(adversarial: Adversarial, image_size: int) -> tuple[float, float]:
    """The discriminator: its frozen network with the products that resize the image, and its heads."""
    if adversarial.features == "patchgan":
        return 0.0, patchgan(image_size)
    if adversarial.features == "dino_vits16":
        side, patches = DINO_PX, (DINO_PX // 16) ** 2
        network, levels = vit(VIT_S16, patches, 16), [(patches, VIT_S16.width)] * DINO_READOUTS
    else:
        side = max(LITE_PX, image_size)
        network = efficientnet_lite(0, side, parts=6)
        levels = [((side // stride) ** 2, width) for stride, width in LITE_READOUTS.items()]
    resizing = 0.0 if side == image_size else 6.0 * side * image_size * (side + image_size)
    heads = sum(HEAD_KERNELS * linear(tokens, width, width) + linear(tokens, width, 1) for tokens, width in levels)
    return resizing + network, heads


def patchgan(side: int) -> float:
    """The convolutions of a PatchGAN, padded by one pixel."""
    total, channels = 0.0, 3
    for width, stride in PATCHGAN_LAYERS:
        side = (side + 2 - PATCHGAN_KERNEL) // stride + 1
        total += linear(side**2, PATCHGAN_KERNEL**2 * channels, width)
        channels = width
    return total


def adversary(tokenizer: Tokenizer, image_size: int) -> float:
    """The cost of the adversarial term for every image of a step, from `start_step` on.

    The term passes gradients to the reconstruction; the adaptive weight computes the gradient of the perceptual
    distance once more. Then the discriminator learns: its frozen network takes the image and, with consistency, a
    second augmentation of image and reconstruction. Its heads are trained on all of them, the reconstruction included.
    """
    a = tokenizer.adversarial
    frozen, heads = discriminator(a, image_size)
    inputs = 4 if a.consistency else 2
    adaptive = _share(tokenizer) * perceptual(tokenizer, image_size) if a.adaptive else 0
    return PASSED * (frozen + heads) + adaptive + (inputs - 1) * frozen + inputs * TRAINED * heads


def comparison(tokenizer: Tokenizer, image_size: int) -> float:
    """The cost of the perceptual distance for every image of a step: features of image and reconstruction."""
    return _share(tokenizer) * (1 + PASSED) * perceptual(tokenizer, image_size)


def _share(tokenizer: Tokenizer) -> float:
    return tokenizer.perceptual.batch_share if tokenizer.perceptual.on else 0.0


def tokenizer_training(experiment: Experiment) -> float:
    """Training of the tokenizer with its heads. A teacher whose features are not stored runs on every batch."""
    t, px, training = experiment.tokenizer, experiment.data.image_size, experiment.training
    spec = teachers.teacher(experiment.teacher)
    online = t.wants_teacher and not spec.cached
    image = TRAINED * (of_encoder(experiment) + of_decoder(experiment) + heads(experiment))
    image += comparison(t, px) + online * of_teacher(experiment)
    adversarial = _adversarial_steps(t, 0, training.steps) * adversary(t, px)
    return training.batch_images * (training.steps * image + adversarial)


def finetuning(experiment: Experiment, steps: int) -> float:
    """Fine-tuning of the decoder for `steps` steps after those of the tokenizer; the encoder is frozen."""
    t, px = experiment.tokenizer, experiment.data.image_size
    image = of_encoder(experiment) + TRAINED * of_decoder(experiment) + comparison(t, px)
    adversarial = _adversarial_steps(t, experiment.training.steps, steps) * adversary(t, px)
    return experiment.training.batch_images * (steps * image + adversarial)


def _adversarial_steps(tokenizer: Tokenizer, first: int, steps: int) -> int:
    a = tokenizer.adversarial
    return max(0, first + steps - max(first, a.start_step)) if a.on else 0


def of_encoder(experiment: Experiment) -> float:
    """The experiment's encoder."""
    return tokenizers.cost(experiment.tokenizer, experiment.data.image_size).encoder.flops


def of_decoder(experiment: Experiment) -> float:
    """The experiment's decoder."""
    return tokenizers.cost(experiment.tokenizer, experiment.data.image_size).decoder.flops


def of_teacher(experiment: Experiment) -> float:
    """The experiment's teacher, for the grid of its image tokens."""
    return teacher(experiment.teacher, experiment.data.image_size // experiment.tokenizer.patch_size)


# Generators


def of_generator(experiment: Experiment) -> float:
    """The experiment's generator. Embeddings and modulations count once per image, not per token."""
    g = experiment.generator
    return generators.cost(g.name, g.size, experiment.latents, codes=experiment.tokenizer.codes.codes).flops


def generator_training(experiment: Experiment) -> float:
    """Training of the generator with REPA's head; the teacher counts as in `tokenizer_training`."""
    g, image = experiment.generator, TRAINED * of_generator(experiment)
    if g.name == "mar":  # its head learns from several noises
        image += TRAINED * (generators.HEAD_NOISES - 1) * generators.head(g.size, experiment.latents).flops
    if g.repa.on:
        spec = teachers.teacher(experiment.teacher)
        image += TRAINED * head(experiment.latents.tokens, g.size.width, g.repa.hidden, spec.patch_width)
        image += (not spec.cached) * of_teacher(experiment)
    return g.training.steps * g.training.batch_images * image


def evaluations(sampling: Sampling, guide: Guide = UNGUIDED) -> int:
    """Evaluations of the network for one image: two inside the guide's interval, with and without the class."""
    steps, last = sampling.steps, sampling.law["last_step"]
    begun = [count / steps for count in range(steps, 0, -1)]
    if last is not None:
        begun = [last + (1 - last) * count / max(1, steps - 1) for count in range(steps - 1, -1, -1)]
    ended = [*begun[1:], 0.0]
    if sampling.sampler == "dopri5":  # at most: seven evaluations a step, and one at the end
        begun = [*begun * 7, 0.0]
    if sampling.sampler in ("heun", "sde_heun"):
        begun += ended if sampling.sampler == "heun" else ended[:-1]
    s = sampling.time_shift or 1.0
    shifted = [s * t / (1 - t + s * t) for t in begun]
    if sampling.sampler == "dopri5" and guide.scale != 1:  # the interval is not known beforehand
        return 3 * len(shifted)
    return sum(2 if guide.scale != 1 and guide.low <= t <= guide.high else 1 for t in shifted)


def drawing(experiment: Experiment, guide: Guide = UNGUIDED) -> float:
    """Drawing the latents of one image."""
    g, form = experiment.generator, experiment.latents
    if generators.is_flow(g.name):
        return evaluations(experiment.sampling, guide) * of_generator(experiment)
    network, heads = generators.evaluations(g.name, form, experiment.sampling.steps)
    extra = generators.head(g.size, form).flops
    once = network * (of_generator(experiment) - (extra if g.name == "mar" else 0)) + heads * extra
    return (1 if guide.scale == 1 else 2) * once


# Measures


def measure(evaluation: Evaluation) -> float:
    """The experiment's measure on one image."""
    if evaluation.network == "inception":
        return INCEPTION
    if evaluation.network == "dinov2":
        return vit(DINOV2["dinov2_vitl14"], 16**2, DINOV2_PATCH)  # at 224 px
    return efficientnet_lite(2, evaluation.metrics_px, parts=9) + EFFICIENTNET_CLASSIFIER


def judging(experiment: Experiment) -> float:
    """Decoding one image from its latents and running the measure on it."""
    return of_decoder(experiment) + measure(experiment.evaluation)
