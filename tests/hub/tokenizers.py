"""Tokenizers of the smoke scale, where they come from, and the runs of the finished row."""

from __future__ import annotations

import torch

from harness.hub.config import Origin, PretrainedConfig, Source
from harness.hub.tokenizer import PretrainedTokenizer
from harness.planning.task import task
from harness.store.records import Record
from harness.store.runs import Run, Store
from tests.conftest import SIDE, experiment

EXPERIMENT = experiment("mactok")
FILES = ["README.md", "config.json", "model.safetensors", "reconstructions.png"]
RECORD = Record("psnr", 21.5, 64, 40, "val", "in words", None, (20.0, 23.0), "lite-0123")
ORIGIN = Origin("mactok", "smoke", "40 steps", "embedded", "", (Source("tokenizer", "ab12", "cd34", False),), (RECORD,))


def run_of(store: Store, stage: str) -> Run:
    return task(stage, EXPERIMENT).run_in(store)


def fresh(variant: str = "mactok", **fields: object) -> PretrainedTokenizer:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return PretrainedTokenizer(PretrainedConfig(SIDE, experiment(variant, **fields).tokenizer, ORIGIN))
