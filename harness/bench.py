"""`python -m harness.bench`: images per second, model FLOP utilisation, the gain of each choice for speed, and more.

Torch counts the FLOPs of the forward pass; a training step counts three times those of its network. The peak is the
best of several matrix products of the same dtype in the same process. So utilisation is relative to the measured speed
of this machine, not to a data sheet.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from tabulate import tabulate

from harness import cli
from harness.benchmarks.training import measure
from harness.experiments.experiment import with_variant
from harness.experiments.scales import SCALES, scale
from harness.system.machine import this_machine


def main(arguments: Sequence[str]) -> int:
    parser = cli.parser("bench", "images per second and model FLOP utilisation of tokenizer, generator and evaluation")
    parser.add_argument("--scale", default="tiny", help=f"{', '.join(SCALES)} (default: tiny)")
    parser.add_argument("--variant", default="mactok", help="the tokenizer (default: mactok)")
    parser.add_argument("--json", action="store_true", help="as JSON")
    options = parser.parse_args(arguments)
    known = scale(options.scale)

    machine = this_machine()
    measured = measure(with_variant(known.experiment, options.variant), machine)
    if options.json:
        print(json.dumps({"machine": str(machine), **measured}, indent=1))
        return 0
    peaks = ", ".join(f"{peak:.0f} GFLOP/s in {dtype}" for dtype, peak in measured["peak_gflops"].items())
    print(f"{options.variant} at {options.scale} on {machine}; matrix-product peak {peaks}\n")
    print(tabulate(measured["work"], headers="keys", floatfmt=("", "", ".1f", ".1f", ".4f", ".1f"), missingval="–"))
    print("\nThe gain of each choice: time without it over time with it, in alternating calls.\n")
    print(tabulate(measured["choices"], headers="keys", floatfmt=".2f"))
    print("\nDecoding, images per second.\n")
    print(tabulate(measured["loading"], headers="keys", floatfmt=".0f"))
    print("\nPeak memory of scoring.\n")
    print(tabulate(measured["memory"], headers="keys", floatfmt=".0f"))
    print("\nHow often 95 % intervals other than t intervals hold the true value, by simulation.\n")
    print(tabulate(measured["intervals"], headers="keys", floatfmt=".3f"))
    print("\nPlanning and status, without torch.\n")
    print(tabulate(measured["machinery"], headers="keys", floatfmt=".2f"))
    return 0


if __name__ == "__main__":
    cli.run(main)
