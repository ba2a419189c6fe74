"""Shared by all commands: options with the same meaning everywhere, and exit codes."""

from __future__ import annotations

from harness.cli.arguments import (
    add_details,
    add_execution,
    add_fields,
    add_growth,
    add_out,
    add_price,
    add_run,
    add_storage,
    add_store,
    add_study,
    add_sweep,
    existing_store,
    options_of,
    pace_of,
)
from harness.cli.ending import agreed, code_of, run
from harness.cli.finished_run import TOKENIZING, FinishedRun, chosen_run, of_stage
from harness.cli.names import fields, listing
from harness.cli.parsing import COMPLETION, Parser, complete, parser
from harness.cli.request import (
    absolute_data,
    absolute_field,
    command_of,
    everything_of,
    fields_of,
    has_run,
    judgement_of,
    next_of,
    nothing_of,
    plan_from,
    request_of,
)

__all__ = [
    "COMPLETION",
    "TOKENIZING",
    "FinishedRun",
    "Parser",
    "absolute_data",
    "absolute_field",
    "add_details",
    "add_execution",
    "add_fields",
    "add_growth",
    "add_out",
    "add_price",
    "add_run",
    "add_storage",
    "add_store",
    "add_study",
    "add_sweep",
    "agreed",
    "chosen_run",
    "code_of",
    "command_of",
    "complete",
    "everything_of",
    "existing_store",
    "fields",
    "fields_of",
    "has_run",
    "judgement_of",
    "listing",
    "next_of",
    "nothing_of",
    "of_stage",
    "options_of",
    "pace_of",
    "parser",
    "plan_from",
    "request_of",
    "run",
]
