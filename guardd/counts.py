"""What the daemon counts of its verdicts, on their path: whole numbers, for status and metrics."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from guardd.judge.finding import Code, Decision, Enforcement, Operation, Verdict

# 0.1 ms to 1 s: a verdict takes less than a millisecond, and the hook waits for a second
BOUNDS_USEC = (
    *(100, 250, 500),
    *(1_000, 2_500, 5_000),
    *(10_000, 25_000, 50_000),
    *(100_000, 250_000, 500_000),
    1_000_000,
)


@dataclass(slots=True)
class Counts:
    """Verdicts since the start; nothing of a guest but the verdict's own words, so it stays small.

    `findings` counts a code once a verdict, however many features it names. `refusals` counts by
    the code that the hook's line starts with, so that they add up to the refused guests.
    """

    verdicts: Counter[tuple[Operation, Decision]] = field(default_factory=Counter)
    findings: Counter[tuple[Code, Enforcement]] = field(default_factory=Counter)
    refusals: Counter[Code] = field(default_factory=Counter)
    withheld: int = 0
    elapsed_usec: int = 0
    # verdicts by the first of BOUNDS_USEC that they kept, those that kept none at the end
    durations: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_USEC) + 1))

    def note(self, verdict: Verdict, elapsed_usec: int) -> None:
        """Count *verdict*, which took *elapsed_usec* microseconds."""
        self.verdicts[verdict.operation, verdict.decision] += 1
        self.elapsed_usec += elapsed_usec
        self.durations[bisect_left(BOUNDS_USEC, elapsed_usec)] += 1
        self.withheld += verdict.would_refuse
        if verdict.findings:
            self.findings.update({(finding.code, finding.mode) for finding in verdict.findings})
        if verdict.refused:
            self.refusals[_deciding(verdict)] += 1

    def by_decision(self) -> dict[str, int]:
        """Give the number of verdicts by their decision."""
        totals: Counter[str] = Counter()
        for (_, decision), count in self.verdicts.items():
            totals[decision] += count
        return dict(totals)

    def to_dict(self) -> dict[str, Any]:
        """Give all of it as the members of the Varlink method GetMetrics that it fills."""
        return {
            "verdicts": [
                {"operation": operation, "decision": decision, "count": count}
                for (operation, decision), count in self.verdicts.items()
            ],
            "findings": [
                {"code": code, "mode": mode, "count": count}
                for (code, mode), count in self.findings.items()
            ],
            "refusals": dict(self.refusals),
            "withheld": self.withheld,
            "durations": [
                {"below_usec": bound, "count": count}
                for bound, count in zip(BOUNDS_USEC, accumulate(self.durations), strict=False)
            ],
            "duration_count": sum(self.durations),
            "duration_sum_usec": self.elapsed_usec,
        }


def _deciding(verdict: Verdict) -> Code:
    is_doubt = verdict.decision is Decision.CANNOT_TELL
    codes = (f.code for f in verdict.findings if f.mode is Enforcement.ENFORCE)
    return next((code for code in codes if code.is_doubt is is_doubt), Code.INTERNAL)
