"""The identifiers of licences that model hubs know: those of SPDX in lower case, and a few of the hubs' own."""

from __future__ import annotations

from harness.system.errors import Mistake, did_you_mean

DEFAULT = "apache-2.0"  # of this project
UNKNOWN = "unknown"  # of weights that were trained elsewhere
# fmt: off
KNOWN = frozenset((
    "afl-3.0", "agpl-3.0", "apache-2.0", "artistic-2.0", "bigcode-openrail-m", "bigscience-bloom-rail-1.0",
    "bigscience-openrail-m", "bsd", "bsd-2-clause", "bsd-3-clause", "bsd-3-clause-clear", "bsl-1.0", "c-uda",
    "cc", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0",
    "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0",
    "cc-by-nd-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc0-1.0", "cdla-permissive-1.0", "cdla-permissive-2.0",
    "cdla-sharing-1.0", "creativeml-openrail-m", "ecl-2.0", "epl-1.0", "epl-2.0", "etalab-2.0", "eupl-1.1",
    "eupl-1.2", "gfdl", "gpl", "gpl-2.0", "gpl-3.0", "isc", "lgpl", "lgpl-2.1", "lgpl-3.0", "lgpl-lr",
    "lppl-1.3c", "mit", "mpl-2.0", "ms-pl", "ncsa", "odbl", "odc-by", "ofl-1.1", "openrail", "osl-3.0",
    "other", "pddl", "postgresql", "unknown", "unlicense", "wtfpl", "zlib",
))
# fmt: on


def licence(given: str) -> str:
    """The identifier as hubs write it. Raises `Mistake` for one that they do not know."""
    name = given.strip().lower()
    if name not in KNOWN:
        hint = did_you_mean(name, sorted(KNOWN, reverse=True))  # the newest version first
        raise Mistake(
            f"--license {given}: no identifier that model hubs know.{hint} Examples: apache-2.0, mit, cc-by-4.0, "
            "cc-by-nc-4.0, other"
        )
    return name
