"""Claims and their verdicts as tables."""

from __future__ import annotations

from collections.abc import Sequence

from harness.experiments.claims import Correlated
from reports.claims.verdicts import PRIMARY, Ruling
from reports.statistics.intervals import LEVEL

EXPLAINED = (
    f"± is half of the {1 - LEVEL:.0%} t interval over seeds; in a study that grows, of the interval at the level of a "
    "look. Differences are taken within each seed. Their noise is estimated from the two rows, and from the others as "
    "far as these are equally noisy. `holds`: the interval is on the side of the claim (for a claim of almost no "
    "change: within the margin). `does not hold`: on the other side (outside the margin). `undecided`: neither, one "
    "seed, or a seed without a result. The primary claims of a study are one family (Holm): together they err in "
    f"{LEVEL:.0%} of studies. Premises and descriptive claims have a test of their own. Seeds: how many have a result, "
    "of those asked for. Power: the share of such studies that would find the paper's effect. Detectable: the smallest "
    "effect that 80 % of such studies would find, in brackets its range, as the noise is known from few seeds."
)


def lines(rulings: Sequence[Ruling]) -> list[dict[str, str]]:
    """One line per claim: claim, family, effect here and in the paper, seeds, power, and the final verdict."""
    return [
        {
            "claim": f"{r.claim.says} ({r.claim.source})",
            "family": r.family + (f" ({r.tests})" if r.family == PRIMARY and r.tests > 1 else ""),
            "here": _here(r),
            "seeds": _seeds(r),
            "paper": r.alone.paper,
            "power": "–" if r.power is None else f"{r.power:.0%}",
            "verdict": _verdict(r),
        }
        for r in rulings
    ]


def _seeds(ruling: Ruling) -> str:
    if isinstance(ruling.claim, Correlated) and ruling.alone.n:
        return f"{ruling.alone.n} rows"
    return f"{ruling.alone.n} of {ruling.asked}" if ruling.asked else "–"


def _here(ruling: Ruling) -> str:
    parts = [ruling.alone.here]
    if ruling.verdict == "undecided" and ruling.detectable:
        parts.append(f"detectable: {ruling.detectable}")
    if ruling.without:
        parts.append(f"without {', '.join(ruling.without)}")
    return "; ".join([*parts, *ruling.oddities])


def _verdict(ruling: Ruling) -> str:
    """The verdict, in bold if it is a decision, with p in its family and the reason if it is not that of the test."""
    text = f"**{ruling.verdict}**" if ruling.decided else ruling.verdict
    if ruling.because:
        return f"{text} ({ruling.because})"
    return text if ruling.adjusted is None else f"{text} (p {_p(ruling.adjusted)})"


def _p(value: float) -> str:
    return "< .001" if value < 0.001 else f"= {value:.3f}".replace("0.", ".", 1)
