"""What libvirt told nothing of, and when to ask again: a QEMU that was slow to start looks so."""

from __future__ import annotations

from typing import NamedTuple

from guardd.facts.domcaps import HypervisorKey

FIRST, LAST = 10.0, 3600.0  # seconds until it is asked again, twice as long each time


class _Next(NamedTuple):
    at: float
    delay: float


class Unanswered:
    """Hypervisors that libvirt told nothing of; *now* is time.monotonic()."""

    def __init__(self) -> None:
        """Begin with none."""
        self._next: dict[HypervisorKey, _Next] = {}

    def add(self, key: HypervisorKey, now: float) -> bool:
        """Note that libvirt was asked in vain; whether it was for the first time."""
        before = self._next.get(key)
        delay = FIRST if before is None else min(2 * before.delay, LAST)
        self._next[key] = _Next(now + delay, delay)
        return before is None

    def discard(self, key: HypervisorKey) -> None:
        """Forget one, which was answered."""
        self._next.pop(key, None)

    def clear(self) -> None:
        """Forget all, for everything is asked anew."""
        self._next.clear()

    def waits(self, key: HypervisorKey, now: float) -> bool:
        """Whether it is too early to ask again."""
        return key in self._next and now < self._next[key].at

    def due(self, now: float) -> list[HypervisorKey]:
        """Name those to ask about again."""
        return [key for key in self._next if not self.waits(key, now)]
