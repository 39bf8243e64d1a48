"""What is counted of verdicts."""

from __future__ import annotations

from itertools import pairwise

import pytest

from guardd import render
from guardd.counts import BOUNDS_USEC, Counts
from guardd.judge.finding import Code, Decision, Enforcement, Finding, Operation, Verdict


def verdict(
    decision: Decision, *codes: Code, refused: bool = False, mode: Enforcement = Enforcement.ENFORCE
) -> Verdict:
    """Give a verdict on a guest that migrates, with a finding of each of *codes*."""
    return Verdict(
        domain="web1",
        operation=Operation.MIGRATE,
        decision=decision,
        refused=refused,
        findings=tuple(Finding(code, "vme", "says why", mode=mode) for code in codes),
    )


def test_a_code_counts_once_a_verdict() -> None:
    """A guest that lacks fifty features is one guest that lacks features."""
    counts = Counts()
    counts.note(
        verdict(Decision.DENY, *[Code.MISSING_FEATURE] * 50, Code.UNKNOWN_MODEL, refused=True), 10
    )

    assert {
        (Code.MISSING_FEATURE, Enforcement.ENFORCE): 1,
        (Code.UNKNOWN_MODEL, Enforcement.ENFORCE): 1,
    } == counts.findings
    assert {(Operation.MIGRATE, Decision.DENY): 1} == counts.verdicts


@pytest.mark.parametrize(
    ("decision", "codes"),
    [
        (Decision.DENY, [Code.VENDOR_MISMATCH, Code.MISSING_FEATURE]),
        (Decision.DENY, [Code.UNCHECKED, Code.MISSING_FEATURE]),
        (Decision.CANNOT_TELL, [Code.UNKNOWN_HOST]),
    ],
)
def test_a_refusal_counts_by_the_code_of_its_line(decision: Decision, codes: list[Code]) -> None:
    """Graph and error message name the same, and the codes add up to the refused guests."""
    counts = Counts()
    refusal = verdict(decision, *codes, refused=True)
    counts.note(refusal, 10)
    (code,) = counts.refusals

    assert render.hook_line(refusal).startswith(f"cpu-guardd[{code}]: ")
    assert 1 == counts.refusals.total()


def test_what_is_let_through_is_no_refusal() -> None:
    """A warning counts as a finding and nothing else."""
    counts = Counts()
    counts.note(verdict(Decision.WARN, Code.MISSING_FEATURE, mode=Enforcement.WARN), 10)

    assert {(Code.MISSING_FEATURE, Enforcement.WARN): 1} == counts.findings
    assert not counts.refusals


@pytest.mark.parametrize(
    ("usec", "bound"), [(0, 100), (100, 100), (101, 250), (999_999, 1_000_000), (1_000_000, 10**6)]
)
def test_durations_hold_their_bound(usec: int, bound: int) -> None:
    """A bucket of Prometheus' holds what is less or equal (le)."""
    counts = Counts()
    counts.note(verdict(Decision.ALLOW), usec)
    below = {d["below_usec"]: d["count"] for d in counts.to_dict()["durations"]}

    assert {limit: int(limit >= bound) for limit in BOUNDS_USEC} == below


def test_durations_add_up() -> None:
    """One that took longer than every bound is in the sum and the count alone."""
    counts = Counts()
    for usec in (50, 300, 2_000_000):
        counts.note(verdict(Decision.ALLOW), usec)
    numbers = counts.to_dict()
    by_bound = [duration["count"] for duration in numbers["durations"]]

    assert (3, 2_000_350) == (numbers["duration_count"], numbers["duration_sum_usec"])
    assert 2 == by_bound[-1]
    assert all(before <= after for before, after in pairwise(by_bound))


def test_by_decision() -> None:
    """Status counts by decision alone, as it always did."""
    counts = Counts()
    for decision in (Decision.ALLOW, Decision.ALLOW, Decision.DENY):
        counts.note(verdict(decision), 10)

    assert {"allow": 2, "deny": 1} == counts.by_decision()
