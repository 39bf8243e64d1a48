"""Talks to libvirt in a thread of its own and publishes what it learns of this host.

It may block or lose its connection at any time; nobody waits for it.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import queue
import socket
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from types import MappingProxyType

from guardd import libvirtconn
from guardd.cpu import same_family
from guardd.errors import GuardError, LibvirtFailed
from guardd.facts.capabilities import Capabilities, parse_capabilities
from guardd.facts.domain import parse_domain
from guardd.facts.domcaps import HypervisorKey, parse_domcaps
from guardd.facts.snapshot import HostSnapshot, with_hypervisor
from guardd.libvirtconn import Connection
from guardd.probe.fingerprint import read_fingerprint

logger = logging.getLogger(__name__)

FIRST_DELAY, LAST_DELAY = 1.0, 30.0  # seconds between attempts to connect
SETTLE_SECONDS = 0.2  # a burst of events is one piece of work

Task = Callable[[Connection], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sink:
    """Where the watcher's news go; called from its thread."""

    published: Callable[[HostSnapshot], None]
    connected: Callable[[str], None]  # with libvirt's version
    lost: Callable[[str], None]  # with the reason


class Watcher:
    """Keeps one connection to libvirt and one snapshot up to date."""

    def __init__(self, uri: str, sink: Sink) -> None:
        self._uri = uri
        self._sink = sink
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._snapshot: HostSnapshot | None = None
        self._refused: set[HypervisorKey] = set()
        self._wake = threading.Event()

    def start(self) -> None:
        """Begin in a thread that ends with the process."""
        libvirtconn.silence_stderr()
        libvirtconn.start_event_loop()
        threading.Thread(target=self._run, name="watcher", daemon=True).start()

    def learn(self, key: HypervisorKey) -> None:
        """Ask libvirt about a hypervisor that a verdict had to guess."""
        self._tasks.put(lambda connection: self._learn(connection, [key]))

    def refresh(self) -> None:
        """Read everything anew; while there is no connection, try at once to get one."""
        self._tasks.put(self._refresh)
        self._wake.set()

    def look(self) -> None:
        """Read everything anew if this host has changed since the snapshot was taken."""
        self._tasks.put(self._look)

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
                defined=lambda uuid: self._tasks.put(lambda c: self._learn_guest(c, uuid)),
                closed=lambda: self._tasks.put(None),
            )
            libvirtconn.watch(connection, listeners)
            self._sink.connected(libvirtconn.version(connection))
            self._refresh(connection)
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

    def _refresh(self, connection: Connection) -> None:
        supported = parse_capabilities(libvirtconn.capabilities(connection))
        self._refused.clear()
        known = self._snapshot
        snapshot = _without_hypervisors(connection, supported)
        for key in _wanted(supported, libvirtconn.all_guests(connection)):
            snapshot = self._with(connection, snapshot, key)
            if known is None:
                self._publish(snapshot)  # a first start: something soon beats everything later
        self._publish(snapshot)

    def _look(self, connection: Connection) -> None:
        snapshot = self._snapshot
        if snapshot is None or _fingerprint(snapshot) != snapshot.fingerprint:
            self._refresh(connection)

    def _learn_guest(self, connection: Connection, uuid: str) -> None:
        try:
            self._learn(connection, [_key(libvirtconn.guest_xml(connection, uuid))])
        except GuardError as exc:
            logger.info("guest %s was not looked at: %s", uuid, exc)

    def _learn(self, connection: Connection, keys: Iterable[HypervisorKey]) -> None:
        snapshot = self._snapshot
        for key in keys:
            if snapshot is not None and not _knows(snapshot, key) and key not in self._refused:
                snapshot = self._with(connection, snapshot, key)
        if snapshot is not None and snapshot is not self._snapshot:
            self._publish(snapshot)

    def _with(
        self, connection: Connection, snapshot: HostSnapshot, key: HypervisorKey
    ) -> HostSnapshot:
        try:
            text = libvirtconn.domain_capabilities(connection, *key)
            return with_hypervisor(snapshot, parse_domcaps(text))
        except GuardError as exc:
            self._refused.add(key)
            logger.info("nothing learned of %s: %s", " ".join(filter(None, key)), exc)
            return snapshot

    def _publish(self, snapshot: HostSnapshot) -> None:
        self._snapshot = replace(snapshot, fingerprint=_fingerprint(snapshot))
        self._sink.published(self._snapshot)


def _without_hypervisors(connection: Connection, supported: Capabilities) -> HostSnapshot:
    now = dt.datetime.now(dt.UTC)
    machines = {
        support.arch: MappingProxyType(
            {name: canonical for name, canonical in support.machines if name != canonical}
        )
        for support in supported.guests
    }
    return HostSnapshot(
        hostname=socket.gethostname(),
        taken=now.isoformat(timespec="seconds").replace("+00:00", "Z"),
        libvirt=libvirtconn.version(connection),
        arch=supported.arch,
        host_cpu=supported.host_cpu,
        machines=MappingProxyType(machines),
    )


def _wanted(supported: Capabilities, guests: Iterable[str]) -> list[HypervisorKey]:
    """Name the defaults of this host's own architecture, and what its guests use."""
    keys = [
        HypervisorKey(virt_type, support.arch, None, support.emulator)
        for support in supported.guests
        if same_family(support.arch, supported.arch)
        for virt_type in support.virt_types
    ]
    for text in guests:
        with contextlib.suppress(GuardError):
            keys.append(_key(text))
    return list(dict.fromkeys(keys))


def _key(domain_xml: str) -> HypervisorKey:
    guest = parse_domain(domain_xml)
    return HypervisorKey(guest.virt_type, guest.arch, guest.machine, guest.emulator)


def _knows(snapshot: HostSnapshot, key: HypervisorKey) -> bool:
    machine = key.machine and snapshot.canonical_machine(key.arch, key.machine)
    return any(known.key == key._replace(machine=machine) for known in snapshot.hypervisors)


def _fingerprint(snapshot: HostSnapshot) -> MappingProxyType[str, str]:
    return MappingProxyType(
        dict(read_fingerprint(hypervisor.emulator for hypervisor in snapshot.hypervisors))
    )
