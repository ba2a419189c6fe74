"""Claims and their verdicts as tables."""

from __future__ import annotations

from collections.abc import Sequence

from harness.experiments.claims import Correlated
from reports.claims.verdicts import PRIMARY, Ruling
from reports.statistics.intervals import LEVEL

EXPLAINED = (
    f"± is half of the {1 - LEVEL:.0%} t interval over seeds; in a study that grows, of the interval at the level of "
    "one look. An interval that would reach beyond what is possible is cut, and stands in [\N{NO-BREAK SPACE}]. "
    "Differences are paired by seed. Their noise is estimated from the two rows, and from other rows that are "
    "equally noisy; that of rows which share a tokenizer, from these alone. `holds`: the interval lies on the side "
    "of the claim; for a claim of almost no change, within the margin. `does not hold`: it lies on the other side, "
    "or outside the margin. `undecided`: it does neither, there is one seed, or a seed has no result. `no data`: no "
    "seed has a result, and the column `here` says why. Family: claims that are tested together, which makes each "
    f"test stricter. `primary, one of 4`: Holm's correction is for four tests, so that {LEVEL:.0%} of studies err in "
    "any of them. A primary claim without such a number is not tested together with others. `p` of a primary claim "
    "is the one after this correction. Each premise and each descriptive claim is tested alone. Seeds: those with a "
    "result, of those requested. Power: the share of such studies that would find the paper's effect; – where the "
    "paper prints none. Detectable: the smallest effect that 80 % of such studies would find; in brackets is its "
    "range, as few seeds tell the noise only roughly. A seed lies apart if its value, or its difference, is too far "
    "from those of the other seeds for chance, at 1 %."
)


def lines(rulings: Sequence[Ruling]) -> list[dict[str, str]]:
    """One line per claim: claim, family, effect here and in the paper, seeds, power, and the final verdict."""
    return [
        {
            "claim": f"{r.claim.says} ({r.claim.source})",
            "family": r.family + (f", one of {r.tests}" if r.family == PRIMARY and r.tests > 1 else ""),
            "here": _here(r),
            "seeds": _seeds(r),
            "paper": r.alone.paper,
            "power": "–" if r.power is None else f"{r.power:.0%}",
            "verdict": _verdict(r),
        }
        for r in rulings
    ]


def _seeds(ruling: Ruling) -> str:
    if ruling.verdict == "no data":
        return "–"
    return f"{ruling.alone.n} rows" if isinstance(ruling.claim, Correlated) else f"{ruling.alone.n} of {ruling.asked}"


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


def tested(ruling: Ruling) -> str:
    """The p value of a claim, and that in its family if it is stricter; empty without a test."""
    if ruling.alone.p is None:
        return ""
    text = f"p {_p(ruling.alone.p)}"
    if ruling.tests > 1 and ruling.adjusted is not None:
        text += f", p {_p(ruling.adjusted)} with Holm's correction for {ruling.tests} claims"
    return text


def _p(value: float) -> str:
    """A p value after the letter p."""
    return "< .001" if value < 0.001 else f"= {value:.3f}".replace("0.", ".", 1)
