"""What is asked of a guest that would arrive, and which answer counts."""

from __future__ import annotations

import pytest

from guardd.judge.arrival import arrival_requests, worst
from guardd.judge.finding import Decision, Operation, Verdict


def verdict(word: str) -> Verdict:
    """Give a verdict by its decision; "!" after it: it refuses."""
    return Verdict(
        domain="web1",
        operation=Operation.PREPARE,
        decision=Decision(word.rstrip("!")),
        refused=word.endswith("!"),
    )


def test_requests() -> None:
    """In the order of libvirt's hook calls, each with the XML that it gets."""
    asked = arrival_requests("web1", as_sent="<a/>", in_force="<b/>")

    assert [("migrate", "<a/>", None), ("prepare", "<b/>", True)] == [
        (request.operation, request.xml, request.arrives) for request in asked
    ]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["allow"], "allow"),
        (["allow", "warn"], "warn"),
        (["warn", "allow"], "warn"),
        (["cannot-tell", "warn"], "cannot-tell"),
        (["deny!", "cannot-tell"], "deny!"),
        # where its administrator wants doubts to be refused
        (["cannot-tell!", "warn"], "cannot-tell!"),
    ],
)
def test_worst(words: list[str], expected: str) -> None:
    """A refusal counts before a doubt, a doubt before a warning."""
    assert verdict(expected) == worst([verdict(word) for word in words])
