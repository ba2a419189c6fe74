"""The index of the pages: every study with its answer in one line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.experiments.requests import AblationRequest, SweepRequest
from harness.store.runs import Store
from harness.system.files import replacing
from reports.ablation.page import Page
from reports.results import load
from reports.tables import markdown


def write(requests: Sequence[AblationRequest | SweepRequest], store: Store, out: Path) -> str:
    """Writes index.md with a line for every request that has a page below `out`; returns its path as text."""
    lines = []
    for request in requests:
        if (out / f"{request.page}.md").exists():
            title = request.study.title.replace("|", "\\|")
            lines.append({"page": f"[{title}]({request.page}.md)", "answer": answer(request, store)})
    path = out / "index.md"
    with replacing(path) as temporary:
        temporary.write_text(f"# All pages\n\n{markdown(lines)}\n", encoding="utf-8")
    return str(path)


def answer(request: AblationRequest | SweepRequest, store: Store) -> str:
    """The answer of a page in one line."""
    if isinstance(request, AblationRequest):
        return Page(request, load(request.experiments(), store)).answer
    from harness.search.storage import default_storage, known_study, trouble_of
    from reports.sweep.answer import Answer
    from reports.sweep.points import TriedPoints

    location = default_storage(store.root, request.page)
    with trouble_of(location):
        study = known_study(request, location, store)
        return " ".join(Answer(TriedPoints(request, study, store)).lines()[:2]) if study else "no trial"
