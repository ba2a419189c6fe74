"""`python -m harness.report STUDY`: rebuilds a report from the store, without running anything.

`--index` alone lists all pages that are there.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from harness import cli
from harness.experiments.requests import AblationRequest, SweepRequest
from harness.store.runs import Store
from harness.system import paths, terminal
from harness.system.errors import Mistake


def main(arguments: Sequence[str]) -> int:
    parser = cli.parser("report")
    cli.add_study(parser)
    cli.add_growth(parser)
    cli.add_sweep(parser)
    cli.add_storage(parser)
    parser.add_argument("--index", action="store_true", help="only list all pages below --out in index.md")
    parser.add_argument("--html", action="store_true", help="also write all pages below --out as a site, index.html")
    parser.add_argument(
        "--latex", action="store_true", help="also write the tables of the page for booktabs, and its figures as PDF"
    )
    parser.add_argument("--csv", action="store_true", help="also write the tables of the page as CSV")
    options = parser.parse_args(arguments)
    if options.index:
        return _index(options)
    plan, store = cli.plan_from(options), Store(options.runs)
    request = plan.request
    if not cli.has_run(plan, store):
        raise cli.nothing_of(request, options)
    paths.require_writable(options.out)
    if isinstance(request, AblationRequest):
        from reports.ablation.page import write

        with _figures(options):
            print(terminal.fitted(write(request, store, options.out)))
    if isinstance(request, SweepRequest):
        from harness.search.storage import default_storage, known_study, trouble_of
        from reports.sweep.page import write as write_sweep

        location = options.storage or default_storage(store.root, request.page)
        with trouble_of(location):
            study = known_study(request, location, store)
            if study is None:
                raise Mistake(f"no study {request.page!r} at {location}; next: {cli.command_of(request, options)}")
            with _figures(options):
                print(terminal.fitted(write_sweep(request, study, location, store, options.out)))
    for path in _other_forms(options, options.out / f"{request.page}.md"):
        print(path)
    unfinished = isinstance(request, AblationRequest) and not plan.is_done(store)
    cli.say_next(cli.command_of(request, options) if unfinished else cli.next_of(request, options))
    return 0


def _figures(options: argparse.Namespace) -> AbstractContextManager[None]:
    """LaTeX also wants the figures as PDF."""
    from reports import figures

    return figures.also_as(".pdf") if options.latex else nullcontext()


def _index(options: argparse.Namespace) -> int:
    """Lists the pages. Raises `Mistake` if there are none, or if a page is named."""
    from reports.pages import index, site

    if options.study is not None:
        raise Mistake(f"--index lists all pages: leave out {options.study}")
    if options.latex or options.csv:
        raise Mistake("--index lists pages, which have no tables to write: --html, or a STUDY with --latex and --csv")
    if not index.pages(options.out):
        raise Mistake(f"{options.out} has no pages: harness.ablate and harness.sweep write them")
    paths.require_writable(options.out)
    print(site.write_site(options.out) if options.html else index.write(options.out))
    return 0


def _other_forms(options: argparse.Namespace, page: Path) -> list[Path]:
    """Writes the page in the other forms that the user wants; returns the paths, or the folder of many."""
    from reports.pages import site

    written = [site.write_site(options.out), page.with_suffix(".html")] if options.html else []
    tables = (site.write_latex(page) if options.latex else []) + (site.write_csv(page) if options.csv else [])
    return written + sorted({path.parent for path in tables})


if __name__ == "__main__":
    cli.run(main)
