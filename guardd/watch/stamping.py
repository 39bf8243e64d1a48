"""Writes into each guest that runs here what it has seen of its CPU since it booted."""

from __future__ import annotations

import contextlib
import logging
import time
from dataclasses import dataclass, replace
from enum import StrEnum

from guardd import libvirtconn
from guardd.cpu import CPUMap
from guardd.errors import GuardError, LibvirtFailed, LibvirtRefused, UnknownHypervisor
from guardd.facts.domain import Guest, parse_domain
from guardd.facts.snapshot import HostSnapshot
from guardd.facts.stamp import NAMESPACE, PREFIX, Stamp, format_stamp
from guardd.journal import Kind, Priority
from guardd.judge.birth import (
    OPEN_MODES,
    arrival_record,
    birth_record,
    is_of_host_as_it_is,
    versions_of,
)
from guardd.libvirtconn import STARTS, Connection, GuestEvent, Happening
from guardd.watch.asked import Asked
from guardd.watch.chore import Chore, Desk
from guardd.watch.learn import utc_now

logger = logging.getLogger(__name__)

NAMED_GUESTS = 5  # in one line
MAX_TRIES = 5  # one at each tick: libvirt is busy with the guest, or busy as a whole

STARTED_HERE = STARTS - {Happening.WOKEN}  # a new QEMU process; one that wakes up never ended
FOUND = Happening.WOKEN  # of a guest that runs: how it came to is not known, or nothing is new


class Deed(StrEnum):
    """What is done about a guest's stamp."""

    WRITE = "write"  # all that is known of a boot here
    WRITE_LESS = "write-less"  # what its XML says, of a guest that booted who knows where
    KEEP = "keep"
    TAKE_AWAY = "take-away"
    LEAVE_WITHOUT = "leave-without"


def choose_deed(
    what: Happening, *, is_open: bool, has_stamp: bool, is_given_known: bool, is_of_here: bool
) -> Deed:
    """Say what to do about the stamp of a guest that runs, after something happened to it.

    *is_open*: it takes what the hypervisor has, its XML does not tell its features. *has_stamp*:
    good or bad. *is_given_known*: its QEMU was seen to start, so it is known what that one gives.
    *is_of_here*: its stamp was written on this host, and nothing was updated here since.
    """
    if what is Happening.BOOTED:
        return Deed.WRITE
    if what is Happening.RESET:
        # its OS reads CPUID anew: an older stamp would say too little or too much
        if is_given_known or not is_open or is_of_here:
            return Deed.WRITE
        return Deed.TAKE_AWAY if has_stamp else Deed.LEAVE_WITHOUT
    if has_stamp:
        return Deed.KEEP
    return Deed.LEAVE_WITHOUT if is_open else Deed.WRITE_LESS


@dataclass(frozen=True, slots=True)
class _Given:
    """What a guest's QEMU process gives it, as it was told when that one started."""

    record: Stamp
    at: float  # of the event, monotonic


@dataclass(frozen=True, slots=True)
class _Pending:
    event: GuestEvent
    tries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """A guest as it runs now, after something happened to it, and what is known of this host."""

    event: GuestEvent
    what: Happening
    guest: Guest
    host: HostSnapshot
    cpu_map: CPUMap

    @property
    def is_open(self) -> bool:
        """Whether it takes what the hypervisor has, so that its XML does not tell what it sees."""
        return self.guest.cpu is not None and self.guest.cpu.mode in OPEN_MODES

    @property
    def has_stamp(self) -> bool:
        """Whether it has a stamp, good or bad."""
        return self.guest.stamp is not None or bool(self.guest.stamp_problem)

    @property
    def is_of_here(self) -> bool:
        """Whether its stamp was written on this host, and nothing was updated here since."""
        return self.guest.stamp is not None and is_of_host_as_it_is(self.guest.stamp, self.host)


class Stamping(Chore):
    """Stamps guests that boot, renews the stamp of those that reset, says who has none."""

    def __init__(self, desk: Desk, asked: Asked) -> None:
        self._desk = desk
        self._asked = asked
        # by the guest's UUID
        self._given: dict[str, _Given] = {}
        self._pending: dict[str, _Pending] = {}
        self._unstamped: dict[str, str] = {}  # names of those whose XML says nothing of their CPU
        self._said: set[str] = set()

    # -- a chore

    def connected(self, connection: Connection) -> None:
        """Look after every guest that runs: what happened while nobody listened was missed."""
        running = libvirtconn.running_guests(connection)
        for uuid in self._all_uuids() - {uuid for uuid, _ in running}:
            self._forget(uuid)
        for uuid, name in running:
            self._attend(connection, *self._missed(uuid, name))
        self._tell_unstamped()
        if line := self._unstamped_line():
            names = sorted(self._unstamped.values())
            more = f" (+{len(names) - NAMED_GUESTS})" if len(names) > NAMED_GUESTS else ""
            message = f"{line}: {', '.join(names[:NAMED_GUESTS])}{more}"
            self._say_once(message, Priority.WARNING, message)

    def happened(self, connection: Connection, event: GuestEvent) -> None:
        """Stamp a guest that boots or resets; look whether one that arrives has its stamp."""
        if event.what is Happening.STOPPED:
            self._asked.forget(event.name)
            self._forget(event.uuid)
        elif event.what in STARTED_HERE:
            self._asked.runs(event.name, event.at)
            self._forget(event.uuid)
            self._attend(connection, event)
        elif event.what is Happening.ARRIVED and event.uuid in self._pending:
            arrived = replace(self._pending[event.uuid].event, at=event.at)
            self._attend(connection, arrived)
        elif event.what is Happening.RESET:
            waiting = self._pending.get(event.uuid)
            if waiting is None or waiting.event.what is not Happening.BOOTED:
                self._attend(connection, event)
        self._tell_unstamped()

    def ticked(self, connection: Connection) -> None:
        """Try again where libvirt failed or could not tell, or a guest was on its way."""
        for waiting in list(self._pending.values()):
            self._attend(connection, waiting.event, waiting.tries)
        self._asked.tidy()
        self._tell_unstamped()

    def changed(self, _connection: Connection, before: HostSnapshot, now: HostSnapshot) -> None:
        """Forget, after an update, of guests that wait that they booted: on what is not known."""
        if versions_of(before) == versions_of(now):
            return
        self._asked.updated()
        for uuid, waiting in self._pending.items():
            if uuid not in self._given and waiting.event.what in STARTED_HERE:
                self._pending[uuid] = replace(waiting, event=replace(waiting.event, what=FOUND))

    # -- what is known of guests

    def _missed(self, uuid: str, name: str) -> tuple[GuestEvent, int]:
        """Say what is to be done for a guest that is found running, and how often it was tried."""
        given, waiting = self._given.get(uuid), self._pending.get(uuid)
        known_since = waiting.event.at if waiting else given.at if given else None
        called = self._asked.last_call(name)
        is_new = known_since is None or (called is not None and called > known_since)
        if waiting and not is_new:
            return waiting.event, waiting.tries
        what = Happening.BOOTED if is_new and self._asked.booted(name) else FOUND
        event = GuestEvent(uuid=uuid, name=name, what=what)
        if is_new:  # it started, perhaps anew, while nobody listened
            self._forget(uuid)
            self._asked.runs(name, event.at)
        return event, 0

    def _all_uuids(self) -> set[str]:
        return {*self._given, *self._pending, *self._unstamped}

    def _forget(self, uuid: str) -> None:
        for kept in (self._given, self._pending, self._unstamped):
            kept.pop(uuid, None)

    # -- one guest

    def _attend(self, connection: Connection, event: GuestEvent, tries: int = 0) -> None:
        """Do what is to be done for one guest; whatever goes wrong is its own affair."""
        self._pending.pop(event.uuid, None)
        try:
            if not self._stamp(connection, event):
                self._pending[event.uuid] = _Pending(event, tries)
        except LibvirtRefused as exc:
            problem = f"stamps cannot be written: {exc}"
            self._desk.note("stamping", problem)
            self._say_once("refused", Priority.WARNING, problem)
            self._pending[event.uuid] = _Pending(event, tries)  # until somebody mends it
        except LibvirtFailed as exc:
            logger.info("%s was not stamped at try %d: %s", event.name, tries + 1, exc)
            if tries + 1 < MAX_TRIES:
                self._pending[event.uuid] = _Pending(event, tries + 1)
        except UnknownHypervisor as exc:
            message = f"guests like {event.name} get no stamp before libvirt tells more: {exc}"
            self._say_once(str(exc), Priority.INFO, message)
            self._pending[event.uuid] = _Pending(event, tries)
        except GuardError as exc:
            message = f"guests like {event.name} get no stamp: {exc}"
            self._say_once(str(exc), Priority.INFO, message)
        if event.uuid not in self._pending:
            self._asked.attended(event.name)

    def _stamp(self, connection: Connection, event: GuestEvent) -> bool:
        """Do it for a guest that runs; False where it is on its way, so that it is too early."""
        running, known = libvirtconn.running_guest(connection, event.uuid), self._desk.known()
        if running is None or known.host is None:
            return True
        found = _Found(
            event=event,
            what=_really(event.what, running.how),
            guest=parse_domain(running.xml),
            host=known.host,
            cpu_map=known.cpu_map,
        )
        if running.is_migrating:
            self._remember(found)
            return False
        self._do(connection, found)
        return True

    def _do(self, connection: Connection, found: _Found) -> None:
        event = found.event
        if found.has_stamp:
            self._unstamped.pop(event.uuid, None)
        elif found.is_open:
            self._unstamped[event.uuid] = event.name
        deed = choose_deed(
            found.what,
            is_open=found.is_open,
            has_stamp=found.has_stamp,
            is_given_known=event.uuid in self._given,
            is_of_here=found.is_of_here,
        )
        match deed:
            case Deed.WRITE:
                self._write(connection, event, self._record(found))
            case Deed.WRITE_LESS:
                self._write(connection, event, arrival_record(found.guest, self._record(found)))
            case Deed.TAKE_AWAY:
                self._take_away(connection, event)
            case _:
                self._remember(found)
                if deed is Deed.LEAVE_WITHOUT:
                    self._say_unstamped(event)

    def _remember(self, found: _Found) -> None:
        """Keep what a guest is given that has just started, for when it resets."""
        with contextlib.suppress(GuardError):
            self._record(found)

    def _record(self, found: _Found) -> Stamp:
        """Say what the guest's QEMU gives it; kept for its next reset where it just started."""
        if given := self._given.get(found.event.uuid):
            return given.record._replace(taken=utc_now())
        guest = found.guest
        record = birth_record(guest, found.host, found.cpu_map, taken=utc_now())
        if found.what is not Happening.BOOTED:
            # KVM goes on with the frequency that came along, over a reset as well
            stamped = None if guest.stamp is None else guest.stamp.tsc
            record = record._replace(tsc=guest.tsc_frequency or stamped)
        if found.what in STARTED_HERE:
            self._given[found.event.uuid] = _Given(record, found.event.at)
        return record

    def _write(self, connection: Connection, event: GuestEvent, stamp: Stamp) -> None:
        text = format_stamp(stamp)
        if not libvirtconn.set_metadata(connection, event.uuid, text, PREFIX, NAMESPACE):
            return
        elapsed = time.monotonic() - event.at
        self._unstamped.pop(event.uuid, None)
        self._desk.note("stamping", "")
        self._said.discard("refused")
        self._desk.count("stamped")
        counted = f"{len(stamp.features)} features of " if stamp.features else ""
        self._desk.say(
            Kind.STAMP,
            Priority.INFO,
            f"{event.name} was stamped: {counted}{stamp.model or stamp.arch},"
            f" in {elapsed * 1000:.0f} ms",
            **_fields(event),
            GUARDD_ELAPSED_USEC=f"{elapsed * 1e6:.0f}",
        )

    def _take_away(self, connection: Connection, event: GuestEvent) -> None:
        libvirtconn.set_metadata(connection, event.uuid, None, PREFIX, NAMESPACE)
        self._unstamped[event.uuid] = event.name
        self._desk.count("unstamped")
        self._desk.say(
            Kind.STAMP,
            Priority.WARNING,
            f"{event.name} lost its stamp: it reset, and what CPU its QEMU gives it now cannot be"
            " told, as cpu-guardd did not see that one start",
            **_fields(event),
        )

    # -- who has none

    def _say_unstamped(self, event: GuestEvent) -> None:
        if event.what is FOUND:
            return  # told with all others
        self._desk.count("unstamped")
        self._desk.say(
            Kind.STAMP,
            Priority.WARNING,
            f"{event.name} runs here with a CPU that only a stamp could tell, and has none",
            **_fields(event),
        )

    def _tell_unstamped(self) -> None:
        self._desk.note("stamps", self._unstamped_line())

    def _unstamped_line(self) -> str:
        """Say how many; who they are is not for all who may ask for the status."""
        number = len(self._unstamped)
        if not number:
            return ""
        who = "1 running guest has" if number == 1 else f"{number} running guests have"
        return f"{who} a CPU that only a stamp could tell, and none"

    def _say_once(self, about: str, priority: Priority, message: str) -> None:
        if about not in self._said:
            self._said.add(about)
            self._desk.say(Kind.STAMP, priority, message)


def _really(what: Happening, how: Happening | None) -> Happening:
    """Correct *what* by *how* libvirt says that the guest came to run."""
    if what is Happening.REVERTED and how is Happening.BOOTED:
        return Happening.BOOTED  # to a snapshot of a guest that was off
    if what is Happening.BOOTED and how is not None:
        return how  # what the hook saw may have been a revert
    return what


def _fields(event: GuestEvent) -> dict[str, str]:
    return {"GUARDD_DOMAIN": event.name, "GUARDD_DOMAIN_UUID": event.uuid}
