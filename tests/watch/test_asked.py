"""Which call of the hook a guest that runs belongs to."""

import os
import time
from pathlib import Path

import pytest

from guardd.judge.finding import Operation
from guardd.watch.asked import ARRIVAL_SECONDS, MAX_GUESTS, Asked
from guardd.watch.starting import Starting


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


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "starting"


def calls(asked: Asked, *operations: str) -> None:
    """Have the hook ask about web1, and be told that it may go on."""
    for operation in operations:
        asked.note("web1", Operation(operation))
        asked.allowed("web1")


@pytest.mark.parametrize(
    ("operations", "is_left"),
    [
        (["prepare"], True),
        (["migrate", "prepare"], False),
        (["restore", "prepare"], False),
        (["prepare", "migrate"], False),  # it ran, left, and comes back
        (["migrate", "prepare", "prepare"], True),
    ],
)
def test_a_boot_outlives_the_process(folder: Path, operations: list[str], *, is_left: bool) -> None:
    """An arrival does not: it brings its stamp along."""
    calls(Asked(starting=Starting(folder)), *operations)

    assert is_left is Asked(starting=Starting(folder)).booted("web1")


def test_nothing_is_left_of_a_boot(folder: Path) -> None:
    """Once all is done for it, it has stopped, the host was updated, or it was refused."""
    asked = Asked(starting=Starting(folder))
    calls(asked, "prepare")
    asked.attended("web1")
    assert set() == Starting(folder).names()

    calls(asked, "prepare")
    asked.runs("web1", time.monotonic())
    asked.forget("web1")
    assert set() == Starting(folder).names()

    calls(asked, "prepare")
    asked.note("web2", Operation.MIGRATE)
    asked.updated()
    assert set() == Starting(folder).names()
    assert not asked.booted("web1")
    assert asked.note("web2", Operation.PREPARE)  # it arrives, update or not

    asked.note("web1", Operation.PREPARE)
    asked.refused("web1")
    assert set() == Starting(folder).names()


def test_who_never_ran_is_forgotten(folder: Path) -> None:
    """Its start failed, and the hook is not told of that."""
    asked = Asked(starting=Starting(folder))
    calls(asked, "prepare")
    (file,) = folder.iterdir()
    os.utime(file, (0, 0))
    asked.tidy()

    assert [] == list(folder.iterdir())
