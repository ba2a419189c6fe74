"""What tests of pretrained tokenizers share: the finished row, and what is published of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import publish
from harness.hub.tokenizer import PretrainedTokenizer
from harness.store.runs import Store
from tests.hub.tokenizers import run_of


@pytest.fixture(scope="session")
def store(runs: Path) -> Store:
    return Store(runs)


@pytest.fixture(scope="session")
def published(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `publish` makes of the finished row. Tests copy it, never change it."""
    out = tmp_path_factory.mktemp("published") / "mactok"
    words = ["--run", run_of(store, "evaluation").key[:10], "--runs", str(store.root), "--out", str(out)]
    assert publish.main(words) == 0
    return out


@pytest.fixture(scope="session")
def pretrained(published: Path) -> PretrainedTokenizer:
    return PretrainedTokenizer.from_pretrained(published)
