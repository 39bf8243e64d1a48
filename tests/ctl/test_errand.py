"""Errands: all at once, none for ever."""

from __future__ import annotations

import threading
from functools import partial

import pytest

from guardd.ctl.errand import Errand, run_errands
from guardd.errors import GuardError, LibvirtFailed, Unreachable


def test_at_once() -> None:
    """Each can wait for the others: none waits for its turn. Results keep their order."""
    meeting = threading.Barrier(3, timeout=30)

    def meet(number: int, _: Errand[int]) -> int:
        meeting.wait()
        return number

    assert [0, 1, 2] == run_errands([partial(meet, number) for number in range(3)], "meeting")


def test_trouble_of_one() -> None:
    """An error is the outcome of one, not the end of all."""
    trouble = LibvirtFailed("no such host")

    def fail(_: Errand[int]) -> int:
        raise trouble

    assert [trouble, 1] == run_errands([fail, lambda _: 1], "asking")


def test_late() -> None:
    """What hangs is left alone, with the step that it hangs in."""
    never = threading.Event()

    def hang(errand: Errand[int]) -> int:
        errand.begin("connect to hostb", 0)
        never.wait()
        return 0

    late, quick = run_errands([hang, lambda _: 1], "asking")
    never.set()

    assert isinstance(late, Unreachable)
    assert ("cannot connect to hostb: no answer within 0 s", 1) == (str(late), quick)


def test_bug() -> None:
    """A bug is no outcome: it keeps its traceback."""

    def stumble(_: Errand[int]) -> int:
        raise KeyError("model")

    with pytest.raises(KeyError):
        run_errands([stumble], "asking")
    assert not issubclass(KeyError, GuardError)
