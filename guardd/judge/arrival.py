"""A running guest's way to a host: what its guard is asked there, and the answer to all of it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from guardd.judge.finding import CheckRequest, Decision, Operation, Verdict


class CanGo(StrEnum):
    """Whether a guest can go somewhere."""

    YES = "yes"
    WARNINGS = "with-warnings"
    NO = "no"
    CANNOT_TELL = "cannot-tell"


def arrival_requests(domain: str, *, as_sent: str, in_force: str) -> tuple[CheckRequest, ...]:
    """Give what libvirt would ask the guard of a migration's destination, in its order.

    `migrate` sees the XML *as_sent*, with the CPU as it was written, and `prepare` then the one
    with the CPU *in_force*.
    """
    return (
        CheckRequest(domain=domain, operation=Operation.MIGRATE, xml=as_sent),
        CheckRequest(domain=domain, operation=Operation.PREPARE, xml=in_force, arrives=True),
    )


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """Give the one of *verdicts*, at least one, that stands most in a guest's way.

    Of equal ones the last: it was given on more.
    """
    return max(reversed(verdicts), key=_gravity)


def _gravity(verdict: Verdict) -> tuple[bool, int]:
    order = (Decision.ALLOW, Decision.WARN, Decision.CANNOT_TELL, Decision.DENY)
    return verdict.refused, order.index(verdict.decision)


def can_go(verdict: Verdict) -> CanGo:
    """Say what *verdict*, of some host, means for a guest that wants to go there."""
    if verdict.refused:
        return CanGo.NO
    match verdict.decision:
        case Decision.CANNOT_TELL:
            return CanGo.CANNOT_TELL
        case Decision.ALLOW:
            return CanGo.YES
        case _:
            return CanGo.WARNINGS
