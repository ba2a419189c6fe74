"""The metrics that users add: what measures them has a stage of its own, so that no other key depends on them."""

from __future__ import annotations

from harness.system import plugins

PACKAGE = "harness.evaluation.metrics"
VALIDATION = ("val", "val_unseen")  # the splits of tokenizers; the others are sets of generated images
SETS = ("samples", "guided", "prior", "reconstructions", "real", "fresh", "mean image", "noise")
SPLITS = (*VALIDATION, *SETS)
STAGES = ("plugin_metrics", "plugin_generation")  # what measures them
TABLES = {"reconstruction": False, "information": False, "latents": False, "generation": True}  # generated or not


def metrics(generated: bool) -> dict[str, str | None]:
    """The metrics that are measured on generated images, or else on a tokenizer, with the digits of their files."""
    return {
        name: plugins.code(PACKAGE, name)
        for name, module in sorted(plugins.USERS.get(PACKAGE, {}).items())
        if any((split not in VALIDATION) == generated for split in module.splits)
    }


def of_table(table: str) -> list[str]:
    """The metrics that say they belong to a table; those that say nothing to `reconstruction` or `generation`."""
    generated = TABLES[table]
    default = ("generation" if generated else "reconstruction",)
    modules = plugins.USERS.get(PACKAGE, {})
    return [name for name in metrics(generated) if table in getattr(modules[name], "tables", default)]
