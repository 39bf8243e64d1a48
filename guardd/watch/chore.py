"""What a chore is: work with libvirt's help that a verdict never waits for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from guardd.cpu import CPUMap
from guardd.facts.snapshot import HostSnapshot
from guardd.judge.finding import CheckRequest, Verdict
from guardd.judge.policy import Policy
from guardd.libvirtconn import Connection, GuestEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What verdicts go by at one moment; `host` None: nothing is known of this host."""

    host: HostSnapshot | None
    policy: Policy
    cpu_map: CPUMap


class Say(Protocol):
    """Writes a record to the journal: a MESSAGE_ID, a syslog priority, a line, more fields."""

    def __call__(self, kind: str, priority: str, message: str, **fields: str) -> None:
        """Queue the record; never waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What every chore works with; all of it may be called from the watcher's thread.

    `known` gives what verdicts go by now. `count` adds one to a number that `status` shows.
    `note` sets what `status` shows as a problem under a key, "" for none any more.
    """

    known: Callable[[], Known]
    say: Say
    count: Callable[[str], object]
    note: Callable[[str, str], object]


class Chore:
    """Called in the watcher's thread; may raise a GuardError, which is logged and forgotten.

    A lost connection ends the watcher's round, so nothing needs to be retried here but what must
    not be lost: `subscribed` and `connected` are called anew with each connection.
    """

    def subscribed(self, connection: Connection) -> None:
        """Act on events being listened for from now on; they are looked at after `connected`."""

    def connected(self, connection: Connection) -> None:
        """Act on a new connection, when the host is known; events may have been missed."""

    def happened(self, connection: Connection, event: GuestEvent) -> None:
        """Act on an event in a guest's life."""

    def judged(self, connection: Connection, request: CheckRequest, verdict: Verdict) -> None:
        """Act on a verdict that was given; the XML of *request* is not kept for it."""

    def changed(self, connection: Connection, before: HostSnapshot, now: HostSnapshot) -> None:
        """Act on a host that is not what it was."""

    def ticked(self, connection: Connection) -> None:
        """Act on time going by: at each beat for the watchdog, twice a minute at least."""
