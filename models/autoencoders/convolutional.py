"""The convolutional autoencoder of latent diffusion: residual levels, attention at the coarsest (Esser et al. 2021)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torch.nn import functional

from models import config
from models.autoencoders.posterior import Posterior
from models.autoencoders.tokenizer import Tokenizer
from models.layers.layout import Convolution, convolved
from models.layers.transformer import attention


def norm(groups: int, channels: int) -> nn.GroupNorm:
    """Normalises `groups` of channels."""
    return nn.GroupNorm(groups, channels, eps=1e-6)


def begin_as_identity(between: Convolution) -> None:
    """Lets a layer `between` two levels begin by copying its channels, where there are fewer than 128.

    What passes a dozen random maps of a few channels each keeps one direction, which is brightness: colour is then not
    learned within a thousand steps. Wide layers begin at random, as released code has it.
    """
    if between.in_channels < 128:
        nn.init.dirac_(between.weight)


class Residual(nn.Module):
    """Two 3 x 3 convolutions, each after norm and swish, around which the input passes."""

    def __init__(self, inputs: int, outputs: int, groups: int):
        super().__init__()
        self.norm1, self.conv1 = norm(groups, inputs), Convolution(inputs, outputs, 3, padding=1)
        self.norm2, self.conv2 = norm(groups, outputs), Convolution(outputs, outputs, 3, padding=1)
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs:
            self.shortcut = Convolution(inputs, outputs, 1)
            begin_as_identity(self.shortcut)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(functional.silu(self.norm1(x)))
        h = self.conv2(functional.silu(self.norm2(h)))
        return self.shortcut(x) + h


class Attention(nn.Module):
    """Self-attention of all places with one head, around which the input passes."""

    def __init__(self, channels: int, groups: int):
        super().__init__()
        self.norm = norm(groups, channels)
        self.qkv, self.proj = Convolution(channels, 3 * channels, 1), Convolution(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x)).flatten(2).mT[:, None].chunk(3, dim=-1)  # (B, 1, h w, C)
        h = attention(q.contiguous(), k.contiguous(), v.contiguous())[:, 0].mT.unflatten(2, x.shape[2:])
        return x + self.proj(h)


class Down(Convolution):
    """Halves the side: the right and lower edge are padded, then a 3 x 3 convolution of stride 2."""

    def __init__(self, channels: int):
        super().__init__(channels, channels, 3, stride=2)
        begin_as_identity(self)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(functional.pad(x, (0, 1, 0, 1)))


class Up(Convolution):
    """Doubles the side: every place is repeated, then a 3 x 3 convolution."""

    def __init__(self, channels: int):
        super().__init__(channels, channels, 3, padding=1)
        begin_as_identity(self)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(functional.interpolate(x, scale_factor=2.0, mode="nearest"))


def level(inputs: int, outputs: int, blocks: int, groups: int, attends: bool) -> list[nn.Module]:
    """The residual blocks of a level, each followed by attention if it `attends`."""
    layers: list[nn.Module] = []
    for width in (inputs, *[outputs] * (blocks - 1)):
        layers += [Residual(width, outputs, groups), *([Attention(outputs, groups)] if attends else [])]
    return layers


def middle(channels: int, groups: int) -> list[nn.Module]:
    """Residual block, attention, residual block."""
    return [Residual(channels, channels, groups), Attention(channels, groups), Residual(channels, channels, groups)]


def last(channels: int, outputs: int, groups: int) -> list[nn.Module]:
    """What makes the outputs: norm, swish, convolution."""
    return [norm(groups, channels), nn.SiLU(), Convolution(channels, outputs, 3, padding=1)]


def encoder(size: config.Convolution, attends: bool, outputs: int) -> nn.Sequential:
    """Images (B, 3, H, W) -> (B, outputs, h, w). `attends`: the coarsest level attends."""
    layers: list[nn.Module] = [Convolution(3, size.width, 3, padding=1)]
    inputs, coarsest = size.width, len(size.widths) - 1
    for number, width in enumerate(size.widths):
        layers += level(inputs, width, size.blocks, size.groups, attends and number == coarsest)
        layers += [Down(width)] if number < coarsest else []
        inputs = width
    return nn.Sequential(*layers, *middle(inputs, size.groups), *last(inputs, outputs, size.groups))


def decoder(
    widths: Sequence[int],
    blocks: int,
    groups: int,
    inputs: int,
    first: Callable[[int, int], list[nn.Module]],
    attends: bool = False,
) -> nn.Sequential:
    """(B, inputs, h, w) -> images (B, 3, H, W), by levels of `widths` from the coarsest to the finest.

    `first` makes the layers before the levels, for channels and groups. `attends`: the coarsest level attends.
    """
    layers: list[nn.Module] = [Convolution(inputs, widths[0], 3, padding=1), *first(widths[0], groups)]
    before = widths[0]
    for number, width in enumerate(widths):
        layers += level(before, width, blocks, groups, attends and number == 0)
        layers += [Up(width)] if number < len(widths) - 1 else []
        before = width
    return nn.Sequential(*layers, *last(before, 3, groups))


class Convolutional(Tokenizer):
    """Images (B, 3, H, W) in [-1, 1] <-> latents (B, h w, Z) of a grid, in row order.

    `attends`: whether the coarsest levels of encoder and decoder attend, beside their middles, which always do.
    """

    def __init__(self, tokenizer: config.Tokenizer, image_size: int, channels: int, attends: tuple[bool, bool]):
        super().__init__()
        size = tokenizer.convolution
        self.side = image_size // size.downsampling
        outputs = (2 if tokenizer.gaussian.on else 1) * channels
        self.encoder = encoder(size, attends[0], outputs)
        self.to_mean = nn.Linear(outputs, channels)
        self.from_latents = nn.Linear(channels, channels)
        self.decoder = decoder(size.widths[::-1], size.blocks + 1, size.groups, channels, middle, attends[1])
        self.add_bottleneck(tokenizer, channels, lambda: nn.Linear(outputs, channels))

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Posterior:
        assert mask is None, "a convolution has no image tokens to hide"
        return self.posterior(self.encoder(convolved(x)).flatten(2).mT)

    def decode(self, z: Tensor, mask: Tensor | None = None) -> Tensor:
        assert mask is None, "a convolution has no token for hidden latents"
        grid = self.from_latents(z).mT.unflatten(2, (self.side, self.side))
        image: Tensor = self.decoder(convolved(grid))
        return image.float()

    @property
    def last_layer(self) -> Tensor:
        return last_weight(self.decoder)

    @property
    def last_of_encoder(self) -> Tensor:
        return last_weight(self.encoder)

    def decoder_parameters(self) -> list[nn.Parameter]:
        return [*self.from_latents.parameters(), *self.decoder.parameters()]


def last_weight(layers: nn.Sequential) -> Tensor:
    """The weight of the last layer, a convolution."""
    last = layers[-1]
    assert isinstance(last, Convolution)
    return last.weight
