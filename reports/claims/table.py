"""Claims and their verdicts as tables."""

from __future__ import annotations

from collections.abc import Sequence

from reports.claims.judge import Judgement
from reports.statistics.intervals import LEVEL

EXPLAINED = (
    f"`holds`: the whole {1 - LEVEL:.0%} interval over seeds, paired by seed, is on the side of the claim (for a claim "
    "of almost no change: within the margin). `does not hold`: the whole interval is on the other side (outside the "
    "margin). `undecided`: neither, or only one seed. ± is half of the interval. By Holm: the verdict if all tests of "
    "the study count as one family. Detectable: the smallest true effect that 80 % of studies would show with as many "
    "seeds that are as noisy."
)


def lines(judgements: Sequence[Judgement]) -> list[dict[str, str]]:
    """One line per claim: the claim, the effect here and in the paper, N, the verdict and the verdict by Holm."""
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
