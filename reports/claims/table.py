"""Claims and what became of them, as tables."""

from __future__ import annotations

from collections.abc import Sequence

from reports.claims.judge import Judgement
from reports.statistics.intervals import LEVEL

EXPLAINED = (
    f"`holds`: the {1 - LEVEL:.0%} interval over seeds, paired by seed, lies wholly on the side that is claimed (of "
    "what hardly moves: within the margin). `does not hold`: wholly on the other (outside). `undecided`: neither, or "
    "one seed. ± is half of the interval. By Holm: what is left of the verdict once all tests of the study count as "
    "one family. Could have seen: the least true effect that so many seeds, as noisy as these, show in 80 % of studies."
)


def lines(judgements: Sequence[Judgement]) -> list[dict[str, str]]:
    """A line a claim: what is said and where, here, in the paper, verdict, verdict by Holm."""
    return [
        {
            "claim": f"{j.claim.says} ({j.claim.source})",
            "here": j.here,
            "N": str(j.n or "–"),
            "paper": j.paper,
            "verdict": f"**{j.verdict}**" if j.verdict in ("holds", "does not hold") else j.verdict,
            "by Holm": "–" if j.p is None else str(j.after_holm),
        }
        for j in judgements
    ]
