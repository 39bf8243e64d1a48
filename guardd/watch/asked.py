"""Which guests the hook asked about lately: what an event of libvirt's alone does not tell."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from guardd.judge.finding import Operation
from guardd.watch.starting import Starting

# `migrate` and `restore` come just before their `prepare`; but a busy host may take its time, and
# an offline migration is a `migrate` alone
ARRIVAL_SECONDS = 30.0
MAX_GUESTS = 10_000  # the oldest is forgotten then


@dataclass(slots=True)
class _Call:
    operation: Operation
    time: float
    arrives: bool
    has_run: bool = False  # the guest was seen running after this call


class Asked:
    """The last call for each guest, by name; for any thread. Times are those of *clock*.

    *starting*: where the next process finds the guests that boot while this one ends, if anywhere.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, starting: Starting | None = None
    ) -> None:
        self._clock = clock
        self._starting = starting
        self._calls: OrderedDict[str, _Call] = OrderedDict()
        self._lock = threading.Lock()
        for name in () if starting is None else starting.names():
            self._calls[name] = _Call(Operation.PREPARE, clock(), arrives=False)

    def note(self, name: str, operation: Operation) -> bool:
        """Take note of a call; tell whether the guest arrives here from elsewhere or from a file.

        A `prepare` without a `migrate` or `restore` just before it is a start or a revert.
        """
        now = self._clock()
        with self._lock:
            before = self._calls.pop(name, None)
            arrives = operation is not Operation.PREPARE or (
                before is not None
                and before.operation is not Operation.PREPARE
                and now - before.time < ARRIVAL_SECONDS
            )
            self._calls[name] = _Call(operation, now, arrives)
            while len(self._calls) > MAX_GUESTS:
                self._calls.popitem(last=False)
        if arrives:
            self.attended(name)
        return arrives

    def allowed(self, name: str) -> None:
        """Take note that the guest of the last call may start: it will run soon."""
        if self._starting is not None and self.booted(name):
            self._starting.add(name)

    def attended(self, name: str) -> None:
        """Leave nothing of the guest to the next process: all was done, or it did not boot here."""
        if self._starting is not None:
            self._starting.discard(name)

    def tidy(self) -> None:
        """Forget the guests that were to start long ago, and never ran."""
        if self._starting is not None:
            self._starting.names()

    def updated(self) -> None:
        """Forget, after an update of this host, who booted: it may have been before that."""
        with self._lock:
            booted = [name for name, call in self._calls.items() if not call.arrives]
            for name in booted:
                del self._calls[name]
        for name in booted:  # no verdict waits for files
            self.attended(name)

    def last_call(self, name: str) -> float | None:
        """Tell when the hook asked about this guest last, None where it did not."""
        call = self._calls.get(name)
        return None if call is None else call.time

    def booted(self, name: str) -> bool:
        """Whether the last call for this guest was that of a start from nothing, or of a revert."""
        call = self._calls.get(name)
        return call is not None and not call.arrives

    def runs(self, name: str, at: float) -> None:
        """Take note that the guest was seen running at a time."""
        with self._lock:
            call = self._calls.get(name)
            if call is not None and call.time <= at:
                call.has_run = True

    def refused(self, name: str) -> None:
        """Forget a call that was refused: what comes next for this guest does not belong to it."""
        with self._lock:
            self._calls.pop(name, None)

    def forget(self, name: str) -> None:
        """Forget a guest that has stopped.

        A revert stops a guest, and the hook is asked about its next start before anybody hears of
        the stop: the call for a guest that has not run since is that of the next start, and stays.
        """
        with self._lock:
            call = self._calls.get(name)
            if call is None or not call.has_run:
                return
            del self._calls[name]
        self.attended(name)
