"""What libvirt told nothing of: asked again, ever less often."""

from __future__ import annotations

from guardd.cpu.definition import Arch
from guardd.facts.domcaps import HypervisorKey
from guardd.watch.unanswered import FIRST, LAST, Unanswered

KEY = HypervisorKey("kvm", Arch.X86_64, None, "/usr/bin/qemu-system-x86_64")
OTHER = HypervisorKey("qemu", Arch.PPC64)


def test_asked_again() -> None:
    """After a while, and after twice that; told of once."""
    unanswered = Unanswered()
    now = 0.0

    assert unanswered.add(KEY, now)
    for delay in (FIRST, 2 * FIRST, 4 * FIRST):
        assert unanswered.waits(KEY, now + delay - 1)
        assert [] == unanswered.due(now + delay - 1)
        now += delay
        assert [KEY] == unanswered.due(now)
        assert not unanswered.add(KEY, now)


def test_no_less_often_than_that() -> None:
    """An emulator that is not installed costs a call an hour."""
    unanswered = Unanswered()
    for _ in range(50):
        unanswered.add(KEY, 0.0)

    assert [KEY] == unanswered.due(LAST)
    assert unanswered.waits(KEY, LAST - 1)


def test_answered() -> None:
    """It may be asked about at once, as what was never asked about; all of it, likewise."""
    unanswered = Unanswered()
    for key in (KEY, OTHER):
        unanswered.add(key, 0.0)

    unanswered.discard(KEY)
    assert (False, True) == (unanswered.waits(KEY, 0.0), unanswered.waits(OTHER, 0.0))
    unanswered.clear()
    assert not unanswered.waits(OTHER, 0.0)
    assert unanswered.add(KEY, 0.0)
