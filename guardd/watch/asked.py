"""Which guests the hook asked about lately: what an event of libvirt's alone does not tell."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from guardd.judge.finding import Operation

# `migrate` and `restore` come just before their `prepare`; a busy host may take its time
ARRIVAL_SECONDS = 120.0
MAX_GUESTS = 10_000  # the oldest is forgotten then


@dataclass(frozen=True, slots=True)
class _Call:
    operation: Operation
    time: float
    arrives: bool


class Asked:
    """The last call for each guest, by name; any thread may read while one writes."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._calls: OrderedDict[str, _Call] = OrderedDict()

    def note(self, name: str, operation: Operation) -> bool:
        """Take note of a call; tell whether the guest arrives here from elsewhere or from a file.

        A `prepare` without a `migrate` or `restore` just before it is a start or a revert.
        """
        now = self._clock()
        before = self._calls.pop(name, None)
        arrives = operation is not Operation.PREPARE or (
            before is not None
            and before.operation is not Operation.PREPARE
            and now - before.time < ARRIVAL_SECONDS
        )
        self._calls[name] = _Call(operation, now, arrives)
        while len(self._calls) > MAX_GUESTS:
            self._calls.popitem(last=False)
        return arrives

    def was_asked(self, name: str) -> bool:
        """Whether the hook asked about this guest and it has not stopped since."""
        return name in self._calls

    def booted(self, name: str) -> bool:
        """Whether the last call for this guest was that of a start from nothing, or of a revert."""
        call = self._calls.get(name)
        return call is not None and not call.arrives

    def refused(self, name: str) -> None:
        """Forget a call that was refused: what comes next for this guest does not belong to it."""
        self._calls.pop(name, None)

    def forget(self, name: str) -> None:
        """Forget a guest that has stopped."""
        self._calls.pop(name, None)
