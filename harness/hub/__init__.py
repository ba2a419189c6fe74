"""Finished tokenizers, and released models, as pretrained ones."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.hub.generator import PretrainedGenerator as PretrainedGenerator
    from harness.hub.tokenizer import PretrainedTokenizer as PretrainedTokenizer

HOMES = {"PretrainedGenerator": "harness.hub.generator", "PretrainedTokenizer": "harness.hub.tokenizer"}


def __getattr__(name: str) -> Any:
    """The two classes, imported when they are used: commands read names in this package without torch."""
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(HOMES[name]), name)
