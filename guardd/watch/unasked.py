"""Notices guests that start without libvirt's hook having been asked, and says what may be why."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from guardd import hookfile, libvirtconn
from guardd.errors import GuardError
from guardd.hookfile import State
from guardd.journal import Kind, Priority
from guardd.judge.finding import CheckRequest, Verdict
from guardd.libvirtconn import STARTS, Connection, GuestEvent, Happening
from guardd.watch.chore import Chore, Desk

# a daemon that hung hears of a start before it reads the call that came first
SETTLE_SECONDS = 5.0
MAX_GUESTS = 10_000
MAX_CALLS = 8  # of one guest, for which no start was seen yet
# QEMU with much memory takes its time; a call that no start came of must not excuse a later one
CALL_SECONDS = 600.0

# whom `cpu-guardctl doctor` asks about, and runs the hook for: that tells nothing of libvirt
BY_HAND = "cpu-guardd-doctor"

PROBLEM = "guests start without the hook being asked: {cause}; see `cpu-guardctl hook status`"

# one that wakes up did not go away: libvirt asks no hook
LAUNCHES = STARTS - {Happening.WOKEN}


class Calls:
    """The hook's calls for guests that were let through, each until a start answers to it.

    Any thread may use it. A call comes before the event of its start, always; but an event may be
    looked at when the guest has stopped and started again long since. So each start takes the calls
    that came before its own event, and leaves later ones to later starts.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._calls: OrderedDict[str, list[float]] = OrderedDict()

    def note(self, name: str) -> None:
        """Take note that the hook asks about the start of a guest, now."""
        with self._lock:
            calls = self._calls.pop(name, [])
            self._calls[name] = [*calls[1 - MAX_CALLS :], self._clock()]
            while len(self._calls) > MAX_GUESTS:
                self._calls.popitem(last=False)

    def take(self, name: str, until: float) -> bool:
        """Take the calls for a guest that came by *until*, monotonic; tell whether there were."""
        with self._lock:
            calls = self._calls.pop(name, [])
            later = [at for at in calls if at > until]
            if later:
                self._calls[name] = later
            return any(until - CALL_SECONDS < at <= until for at in calls)


class Unasked(Chore):
    """Says of each guest that started unasked so, and in `status` until the hook asks again.

    What was running when the connection was made is excused: the hook may have asked an earlier
    daemon, about a guest whose migration to here takes hours.
    """

    def __init__(
        self,
        desk: Desk,
        calls: Calls,
        hooks: Path = hookfile.HOOKS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._desk = desk
        self._calls = calls
        self._hooks = hooks
        self._clock = clock
        self._excused: set[str] = set()
        self._suspects: list[GuestEvent] = []
        self._has_problem = False

    def subscribed(self, connection: Connection) -> None:
        """Excuse all guests that are there already, before another can start."""
        self._excused = {uuid for uuid, _name in libvirtconn.running_guests(connection)}

    def happened(self, _connection: Connection, event: GuestEvent) -> None:
        """Look whether the hook asked about a guest that started."""
        is_excused = event.uuid in self._excused
        if event.what is Happening.STOPPED or event.what in LAUNCHES:
            self._excused.discard(event.uuid)
        if event.what in LAUNCHES and not self._calls.take(event.name, event.at):
            self._suspects += [] if is_excused else [event]

    def judged(self, _connection: Connection, request: CheckRequest, _verdict: Verdict) -> None:
        """Note that the hook asks."""
        if self._has_problem and request.domain != BY_HAND:
            self._has_problem = False
            self._desk.note("hook", "")

    def ticked(self, _connection: Connection) -> None:
        """Say of guests of which no call came, not even late."""
        now = self._clock()
        settled = [event for event in self._suspects if event.at <= now - SETTLE_SECONDS]
        self._suspects = self._suspects[len(settled) :]
        for event in settled:
            if not self._calls.take(event.name, now):
                self._tell(event)

    def _tell(self, event: GuestEvent) -> None:
        cause = likely_cause(self._hooks)
        began = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=self._clock() - event.at)
        self._desk.say(
            Kind.UNASKED,
            Priority.WARNING,
            f"cpu-guardd: {event.name} started here ({event.what}) without the hook being asked:"
            f" {cause}; see: cpu-guardctl hook status",
            GUARDD_DOMAIN=event.name,
            GUARDD_DOMAIN_UUID=event.uuid,
            GUARDD_STARTED=began.isoformat(timespec="milliseconds"),
        )
        self._desk.count("unasked")
        self._desk.note("hook", PROBLEM.format(cause=cause))
        self._has_problem = True


def likely_cause(root: Path) -> str:
    """Say why libvirt may not run our hook, by what stands below *root* now."""
    try:
        found = hookfile.places(root)
    except GuardError as exc:
        return str(exc)
    by_state = {place.state: place for place in reversed(found)}
    if any(place.is_run for place in found):
        return (
            "it is in its place, so libvirtd was not reloaded since it was put there"
            " (`cpu-guardctl hook install` has it look again)"
        )
    if State.NOT_EXECUTABLE in by_state:
        return f"{by_state[State.NOT_EXECUTABLE].path} is not executable"
    if State.UNREADABLE in by_state:
        return f"{by_state[State.UNREADABLE].path} cannot be read by cpu-guardd"
    if State.FOREIGN in by_state:
        return f"{by_state[State.FOREIGN].path} is another program's, and ours is not beside it"
    return "it is not installed"
