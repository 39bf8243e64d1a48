"""Which call of the hook a guest that runs belongs to."""

import pytest

from guardd.judge.finding import Operation
from guardd.watch.asked import ARRIVAL_SECONDS, MAX_GUESTS, Asked


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def asked(clock: Clock) -> Asked:
    return Asked(clock)


@pytest.mark.parametrize(
    ("calls", "arrives"),
    [
        ("prepare", False),
        ("migrate", True),
        ("migrate prepare", True),
        ("restore prepare", True),
        ("restore migrate prepare", True),
        ("prepare prepare", False),
        ("migrate prepare prepare", False),  # the second is that of another start
    ],
)
def test_arrival(asked: Asked, calls: str, *, arrives: bool) -> None:
    """A `prepare` right after `migrate` or `restore` belongs to it."""
    told = [asked.note("web1", Operation(call)) for call in calls.split()]

    assert arrives is told[-1]
    assert arrives is not asked.booted("web1")


def test_a_prepare_long_after(asked: Asked, clock: Clock) -> None:
    """A migration that was refused hours ago says nothing of a start now."""
    asked.note("web1", Operation.MIGRATE)
    clock.now += ARRIVAL_SECONDS + 1

    assert not asked.note("web1", Operation.PREPARE)


def test_forget(asked: Asked, clock: Clock) -> None:
    """A guest that ran and stopped is not known any more."""
    asked.note("web1", Operation.PREPARE)
    asked.runs("web1", clock.now + 1)
    asked.forget("web1")

    assert (False, None) == (asked.booted("web1"), asked.last_call("web1"))


def test_a_stop_that_is_heard_of_late(asked: Asked, clock: Clock) -> None:
    """A revert: the guest stops, the hook is asked anew, and only then the events come."""
    asked.note("web1", Operation.PREPARE)
    began = clock.now + 1
    clock.now += 10
    asked.note("web1", Operation.PREPARE)
    asked.runs("web1", began)  # of the run that has ended
    asked.forget("web1")

    assert clock.now == asked.last_call("web1")


def test_nobody_asked(asked: Asked) -> None:
    """The daemon was not there."""
    asked.runs("web1", 1.0)
    asked.forget("web1")

    assert asked.last_call("web1") is None
    assert not asked.booted("web1")


def test_it_does_not_grow_for_ever(asked: Asked) -> None:
    """The oldest calls go first."""
    for number in range(MAX_GUESTS + 1):
        asked.note(f"web{number}", Operation.PREPARE)

    assert asked.last_call("web0") is None
    assert asked.last_call("web1") is not None
