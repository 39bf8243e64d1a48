"""Talks to libvirt in a thread of its own and publishes what it learns of this host.

It may block or lose its connection at any time; nobody waits for it.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from guardd import libvirtconn
from guardd.cpu import CPUMap
from guardd.errors import GuardError, LibvirtFailed
from guardd.facts.domcaps import HypervisorKey
from guardd.facts.snapshot import HostSnapshot, has_changed, with_hypervisor
from guardd.judge.finding import CheckRequest, Verdict
from guardd.libvirtconn import STARTS, Connection, GuestEvent, Happening
from guardd.probe.cpu_map import read_cpu_map
from guardd.probe.fingerprint import CPU_MAP
from guardd.watch.chore import Chore
from guardd.watch.learn import learn_host, learn_hypervisor, learn_key, with_fingerprint
from guardd.watch.unanswered import Unanswered

logger = logging.getLogger(__name__)

FIRST_DELAY, LAST_DELAY = 1.0, 30.0  # seconds between attempts to connect

# verdicts that wait to be looked at again; a storm of them may go by unseen
MAX_TASKS = 2000

Task = Callable[[Connection], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sink:
    """Where the watcher's news go; called from its thread, which may wait for a disk."""

    published: Callable[[HostSnapshot, CPUMap], object]
    connected: Callable[[str], object]  # with libvirt's version
    lost: Callable[[str], object]  # with the reason


class Watcher:
    """Keeps one connection to libvirt and one snapshot up to date, and has the chores done."""

    def __init__(
        self,
        uri: str,
        sink: Sink,
        kept: HostSnapshot | None = None,
        chores: Sequence[Chore] = (),
    ) -> None:
        self._uri = uri
        self._sink = sink
        self._chores = chores
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._snapshot = kept
        self._cpu_map: CPUMap | None = None
        self._unanswered = Unanswered()
        self._wake = threading.Event()

    def start(self) -> None:
        """Begin in a thread that ends with the process."""
        libvirtconn.silence_stderr()
        libvirtconn.start_event_loop()
        threading.Thread(target=self._run, name="watcher", daemon=True).start()

    def learn(self, key: HypervisorKey) -> None:
        """Ask libvirt about a hypervisor that a verdict had to guess."""
        self._tasks.put(lambda connection: self._learn(connection, key))

    def refresh(self) -> None:
        """Read everything anew; while there is no connection, try at once to get one."""
        self._tasks.put(self._refresh)
        self._wake.set()

    def look(self) -> None:
        """Read everything anew if this host has changed since the snapshot was taken."""
        self._tasks.put(self._look)
        self._tasks.put(lambda connection: self._each("ticked", lambda c: c.ticked(connection)))

    def judged(self, request: CheckRequest, verdict: Verdict) -> None:
        """Let the chores look at a verdict that was given; dropped where too many wait."""
        if self._chores and self._tasks.qsize() < MAX_TASKS:
            self._tasks.put(
                lambda connection: self._each(
                    "judged", lambda chore: chore.judged(connection, request, verdict)
                )
            )

    def _run(self) -> None:
        delay = FIRST_DELAY
        while True:
            try:
                connection = libvirtconn.open_connection(self._uri)
            except LibvirtFailed as exc:
                self._sink.lost(str(exc))
            else:
                delay = FIRST_DELAY
                self._attend(connection)
            self._wake.wait(delay)
            self._wake.clear()
            delay = min(2 * delay, LAST_DELAY)

    def _attend(self, connection: Connection) -> None:
        """Serve *connection* until it is lost."""
        try:
            self._forget_tasks()
            listeners = libvirtconn.Listeners(
                happened=lambda event: self._tasks.put(lambda c: self._happened(c, event)),
                closed=lambda: self._tasks.put(None),
            )
            libvirtconn.watch(connection, listeners)
            self._each("subscribed", lambda chore: chore.subscribed(connection))
            self._sink.connected(libvirtconn.version(connection))
            self._refresh(connection)
            self._each("connected", lambda chore: chore.connected(connection))
            while (task := self._tasks.get()) is not None:
                task(connection)
            reason = "libvirt closed the connection"
        except GuardError as exc:
            reason = str(exc)
        except Exception:
            logger.exception("the watcher failed")
            reason = "an error of cpu-guardd, see its traceback"
        self._sink.lost(reason)
        libvirtconn.close(connection)

    def _forget_tasks(self) -> None:
        # what was asked of an earlier connection: the refresh that comes now covers it
        with contextlib.suppress(queue.Empty):
            while True:
                self._tasks.get_nowait()

    def _each(self, doing: str, work: Callable[[Chore], None]) -> None:
        """Have *work* done by each chore; what goes wrong in one keeps none of the others."""
        for chore in self._chores:
            try:
                work(chore)
            except GuardError as exc:
                logger.info("%s, when %s: %s", type(chore).__name__, doing, exc)
            except Exception:
                logger.exception("%s failed when %s", type(chore).__name__, doing)

    def _happened(self, connection: Connection, event: GuestEvent) -> None:
        if event.what in STARTS or event.what is Happening.RESET:
            self._look(connection)  # what is said of a guest now must be of this host as it is now
        if event.what in STARTS or event.what is Happening.DEFINED:
            self._learn_guest(connection, event.uuid)
        self._each(event.what, lambda chore: chore.happened(connection, event))

    def _refresh(self, connection: Connection) -> None:
        snapshot, keys = learn_host(connection)
        self._unanswered.clear()
        known = self._snapshot
        for key in keys:
            snapshot = self._with(connection, snapshot, key)
            if known is None:
                self._publish(snapshot)  # a first start: something soon beats everything later
        # a libvirtd that dies meanwhile leaves hypervisors out: that is no news of the host
        libvirtconn.version(connection)
        self._publish(snapshot)
        if known is not None and has_changed(known, snapshot := self._snapshot or snapshot):
            self._each("changed", lambda chore: chore.changed(connection, known, snapshot))

    def _look(self, connection: Connection) -> None:
        snapshot = self._snapshot
        if snapshot is None or with_fingerprint(snapshot) != snapshot:
            self._refresh(connection)
        for key in self._unanswered.due(time.monotonic()):
            self._learn(connection, key)

    def _learn_guest(self, connection: Connection, uuid: str) -> None:
        try:
            self._learn(connection, learn_key(connection, uuid))
        except GuardError as exc:
            logger.info("guest %s was not looked at: %s", uuid, exc)

    def _learn(self, connection: Connection, key: HypervisorKey) -> None:
        before = self._snapshot
        if before is None or _knows(before, key) or self._unanswered.waits(key, time.monotonic()):
            return
        if with_fingerprint(before).fingerprint != before.fingerprint:
            # what is published now would pass for a reading of the changed host
            self._refresh(connection)
            return
        snapshot = self._with(connection, before, key)
        if snapshot is not before:
            self._publish(snapshot)

    def _with(
        self, connection: Connection, snapshot: HostSnapshot, key: HypervisorKey
    ) -> HostSnapshot:
        try:
            snapshot = with_hypervisor(snapshot, learn_hypervisor(connection, key))
        except GuardError as exc:
            if self._unanswered.add(key, time.monotonic()):
                logger.info("nothing learned of %s: %s", " ".join(filter(None, key)), exc)
        else:
            self._unanswered.discard(key)
        return snapshot

    def _publish(self, snapshot: HostSnapshot) -> None:
        before, snapshot = self._snapshot, with_fingerprint(snapshot)
        if self._cpu_map is None or before is None or _maps_differ(before, snapshot):
            self._cpu_map = read_cpu_map()
        self._snapshot = snapshot
        self._sink.published(snapshot, self._cpu_map)


def _maps_differ(one: HostSnapshot, other: HostSnapshot) -> bool:
    return one.fingerprint.get(CPU_MAP) != other.fingerprint.get(CPU_MAP)


def _knows(snapshot: HostSnapshot, key: HypervisorKey) -> bool:
    machine = key.machine and snapshot.canonical_machine(key.arch, key.machine)
    return any(known.key == key._replace(machine=machine) for known in snapshot.hypervisors)
