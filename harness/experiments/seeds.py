"""The seeds of a request: those of tokenizers, generators and samples, and planned looks at a study that grows."""

from __future__ import annotations

import dataclasses
import itertools

from harness.experiments.experiment import Experiment
from harness.system.errors import Mistake

MOST_SEEDS = 10_000
MOST_REPEATS = 100  # generators of a tokenizer, samples of a generator
LOOKS = (3, 5, 8, 12, 18, 27, 40, 60)  # numbers of seeds, each about half as many again
FEWEST = 2  # seeds that have an interval


def looks(most: int) -> tuple[int, ...]:
    """The numbers of seeds at which a study of at most `most` seeds is looked at; raises `Mistake` below two."""
    if most < FEWEST:
        raise Mistake(f"--max-seeds {most}: fewer than {FEWEST} seeds have no interval, and decide nothing")
    return (*(n for n in LOOKS if n < most), most)


def with_seeds(experiment: Experiment, seeds: int, generators: int = 1, draws: int = 1) -> list[Experiment]:
    """The same experiment with the seeds 0 .. seeds - 1, for each of them the seeds of generators, then of samples.

    The first generator and the first samples have the seed of the tokenizer. All rows have the same seeds.
    """
    if not experiment.generator.on:
        generators = draws = 1
    found = []
    for seed, generator, draw in itertools.product(range(seeds), range(generators), range(draws)):
        of_generator = seed + generator * MOST_SEEDS
        found.append(
            dataclasses.replace(
                experiment,
                seed=seed,
                generator_seed=of_generator if generator else None,
                sampling_seed=of_generator + draw * MOST_SEEDS * MOST_REPEATS if draw else None,
            )
        )
    return found
