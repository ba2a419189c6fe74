"""Where the noise of a number comes from: the seed of the tokenizer, of the generator, of the samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Nested = Mapping[
    str, Mapping[int, Mapping[int, Mapping[int, float]]]
]  # by row and seeds: tokenizer, generator, samples


@dataclass(frozen=True)
class Components:
    """Variances: of a seed for all rows alike (`common`), of the tokenizer, of the generator, of the samples.

    A part that was not repeated is None, and counts to the part before it.
    """

    common: float
    tokenizer: float
    generator: float | None
    samples: float | None
    rows: int
    seeds: int
    generators: int
    draws: int

    def error(self, seeds: float, generators: float) -> float:
        """The standard error of a difference of two rows with so many seeds, and generators for each tokenizer."""
        once = self.tokenizer + (self.generator or 0.0) / generators
        return (2 * (once + (self.samples or 0.0) / generators / self.draws) / seeds) ** 0.5


def components(values: Nested) -> Components | None:
    """The components of variance of complete rows, by the mean squares of a nested design, with what would be < 0 as 0.

    Rows share their seeds: the effect of a seed on all rows alike is a part of its own, which differences do not have.
    None if rows or seeds are fewer than two, or if a value is missing.
    """
    import numpy as np

    try:
        table = np.array(
            [
                [[list(of.values()) for of in generators.values()] for generators in seeds.values()]
                for seeds in values.values()
            ],
            float,
        )
    except ValueError:  # not complete
        return None
    if table.ndim != 4 or min(table.shape[:2]) < 2 or not np.isfinite(table).all():
        return None
    rows, seeds, generators, draws = table.shape
    of_seed = table.mean((2, 3))
    left = of_seed - of_seed.mean(0) - of_seed.mean(1, keepdims=True) + of_seed.mean()
    between = float((left**2).sum()) / ((rows - 1) * (seeds - 1))  # of means over generators and draws
    of_generator = float(table.mean(3).var(2, ddof=1).mean()) if generators > 1 else None  # of means over draws
    of_draw = float(table.var(3, ddof=1).mean()) if draws > 1 else None
    within = of_generator / generators if of_generator is not None else (of_draw or 0.0) / draws
    generator = None if of_generator is None else max(0.0, of_generator - (of_draw or 0.0) / draws)
    return Components(
        common=max(0.0, float(of_seed.mean(0).var(ddof=1)) - between / rows),
        tokenizer=max(0.0, between - within),
        generator=generator,
        samples=of_draw,
        rows=rows,
        seeds=seeds,
        generators=generators,
        draws=draws,
    )
