"""The one door to libvirt: connections, capabilities, guests, events. It may block or fail."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

import libvirt

from guardd.errors import GuardError, LibvirtFailed, LibvirtRefused
from guardd.facts.states import GuestState, Standing, snapshot_state

# seconds between probes and how many may go unanswered: a libvirtd that hangs is noticed then
KEEPALIVE = (5, 3)

_REFUSALS = frozenset(
    {
        libvirt.VIR_ERR_OPERATION_DENIED,  # a read-only connection
        libvirt.VIR_ERR_ACCESS_DENIED,  # libvirt's access driver
        libvirt.VIR_ERR_AUTH_CANCELLED,
        libvirt.VIR_ERR_AUTH_FAILED,
        libvirt.VIR_ERR_AUTH_UNAVAILABLE,
    }
)
# of a guest that stopped meanwhile; a transient one is unknown then
_NOT_RUNNING = frozenset({libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID})

Connection: TypeAlias = libvirt.virConnect


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn libvirt's error into a LibvirtFailed that says what was being done.

    LibvirtRefused where only rights are missing.
    """
    try:
        yield
    except libvirt.libvirtError as exc:
        kind = LibvirtRefused if exc.get_error_code() in _REFUSALS else LibvirtFailed
        raise kind(f"cannot {doing}: {exc.get_error_message() or exc}") from exc


def silence_stderr() -> None:
    """Keep libvirt from printing every error on stderr besides raising it."""
    libvirt.registerErrorHandler(lambda _context, _error: None, None)


def start_event_loop() -> None:
    """Run libvirt's event loop in a thread of its own; once in a process, before connecting."""
    libvirt.virEventRegisterDefaultImpl()

    def run() -> None:
        while True:
            libvirt.virEventRunDefaultImpl()

    threading.Thread(target=run, name="libvirt-events", daemon=True).start()


def open_connection(uri: str, *, read_only: bool = False) -> Connection:
    """Connect; raises LibvirtFailed. Blocks for as long as libvirtd does not accept.

    libvirt 9.0.0 and 11.3.0 give no domain capabilities to who may only read, so that a read-only
    connection is no way out for the daemon: it would know less of this host than it has kept.
    """
    with translated(f"connect to {uri}"):
        return libvirt.openReadOnly(uri) if read_only else libvirt.open(uri)


class Happening(StrEnum):
    """What can happen to a guest, as far as anybody here cares."""

    DEFINED = "defined"
    UNDEFINED = "undefined"
    # how a guest came to run here: all five say so of a guest that was not running before
    BOOTED = "booted"
    MIGRATED = "migrated"
    RESTORED = "restored"
    REVERTED = "reverted"
    WOKEN = "woken"
    # its memory is here too, after a live migration, or it has not left after all
    ARRIVED = "arrived"
    RESET = "reset"
    STOPPED = "stopped"


STARTS = frozenset(
    {Happening.BOOTED, Happening.MIGRATED, Happening.RESTORED, Happening.REVERTED, Happening.WOKEN}
)

_STARTED = {
    libvirt.VIR_DOMAIN_EVENT_STARTED_BOOTED: Happening.BOOTED,
    libvirt.VIR_DOMAIN_EVENT_STARTED_MIGRATED: Happening.MIGRATED,
    libvirt.VIR_DOMAIN_EVENT_STARTED_RESTORED: Happening.RESTORED,
    libvirt.VIR_DOMAIN_EVENT_STARTED_FROM_SNAPSHOT: Happening.REVERTED,
    libvirt.VIR_DOMAIN_EVENT_STARTED_WAKEUP: Happening.WOKEN,
}
_ARRIVED = (libvirt.VIR_DOMAIN_EVENT_RESUMED, libvirt.VIR_DOMAIN_EVENT_RESUMED_MIGRATED)
_HAPPENED = {
    libvirt.VIR_DOMAIN_EVENT_DEFINED: Happening.DEFINED,
    libvirt.VIR_DOMAIN_EVENT_UNDEFINED: Happening.UNDEFINED,
    libvirt.VIR_DOMAIN_EVENT_STOPPED: Happening.STOPPED,
}


_COMPARED = {
    libvirt.VIR_CPU_COMPARE_INCOMPATIBLE: "incompatible",
    libvirt.VIR_CPU_COMPARE_IDENTICAL: "identical",
    libvirt.VIR_CPU_COMPARE_SUPERSET: "superset",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestEvent:
    """One event in the life of the guest with *uuid* and *name*; *at*, monotonic, when it came."""

    uuid: str
    name: str
    what: Happening
    at: float = field(default_factory=time.monotonic, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listeners:
    """Called from libvirt's event thread, so each must return at once and call no libvirt."""

    happened: Callable[[GuestEvent], None]
    closed: Callable[[], None]


def watch(connection: Connection, listeners: Listeners) -> None:
    """Subscribe to guests' events and to the end of the connection; raises LibvirtFailed."""

    def tell(domain: libvirt.virDomain, what: Happening) -> None:
        listeners.happened(GuestEvent(uuid=domain.UUIDString(), name=domain.name(), what=what))

    def on_lifecycle(
        _connection: Connection, domain: libvirt.virDomain, event: int, detail: int, _: object
    ) -> None:
        if event == libvirt.VIR_DOMAIN_EVENT_STARTED:
            # a way to start that is not known yet must not pass for a boot
            tell(domain, _STARTED.get(detail, Happening.RESTORED))
        elif (event, detail) == _ARRIVED:
            tell(domain, Happening.ARRIVED)
        elif event in _HAPPENED:
            tell(domain, _HAPPENED[event])

    def on_reset(_connection: Connection, domain: libvirt.virDomain, _: object) -> None:
        tell(domain, Happening.RESET)

    with translated("subscribe to guests' events"):
        with contextlib.suppress(libvirt.libvirtError):
            connection.setKeepAlive(*KEEPALIVE)  # a driver inside this process has none
        connection.registerCloseCallback(lambda *_reason: listeners.closed(), None)
        for event, callback in (
            (libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, on_lifecycle),
            (libvirt.VIR_DOMAIN_EVENT_ID_REBOOT, on_reset),
        ):
            connection.domainEventRegisterAny(None, event, callback, None)


def close(connection: Connection) -> None:
    """Close *connection*; that it is gone already is no error."""
    try:
        connection.unregisterCloseCallback()
        connection.close()
    except libvirt.libvirtError:
        pass


def version(connection: Connection) -> str:
    """Give libvirtd's version, as in "9.0.0"."""
    with translated("read libvirt's version"):
        return _dotted(connection.getLibVersion())


def qemu_version(connection: Connection) -> str:
    """Give the version of libvirt's default emulator, "" where it has none."""
    try:
        return _dotted(connection.getVersion())
    except libvirt.libvirtError:
        return ""


def _dotted(number: int) -> str:
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"


def hostname(connection: Connection) -> str:
    """Give the name of the host that libvirtd runs on."""
    with translated("read the host's name"):
        return str(connection.getHostname())


def capabilities(connection: Connection) -> str:
    """Give the capabilities XML."""
    with translated("read capabilities"):
        return str(connection.getCapabilities())


def domain_capabilities(
    connection: Connection,
    virt_type: str,
    arch: str,
    machine: str | None = None,
    emulator: str | None = None,
) -> str:
    """Give the domain capabilities XML; None asks for the default of libvirt."""
    with translated(f"read domain capabilities of {virt_type} {arch} {machine or ''}".rstrip()):
        return str(connection.getDomainCapabilities(emulator, arch, machine, virt_type))


def all_guests(connection: Connection) -> list[str]:
    """Give the domain XML, without secrets, of every guest: defined or running."""
    texts = []
    with translated("list all domains"):
        domains = connection.listAllDomains()
    for domain in domains:
        try:
            texts.append(str(domain.XMLDesc()))
        except libvirt.libvirtError:
            continue  # it was undefined meanwhile
    return texts


def guest_states(connection: Connection, *, snapshots: bool = True) -> Iterator[GuestState]:
    """Give every state in which a guest's CPU waits for this host, without secrets.

    A state that cannot be read is left out, and so are *snapshots* where they are not wanted.
    Raises LibvirtFailed where there is no list of guests.
    """
    with translated("list all domains"):
        domains = connection.listAllDomains()
    for domain in domains:
        yield from _states(domain)
        if snapshots:
            yield from _snapshots(domain, domain.name(), domain.UUIDString())


def _states(domain: libvirt.virDomain) -> Iterator[GuestState]:
    name, uuid = domain.name(), domain.UUIDString()
    readers: list[tuple[Standing, Callable[[], str | None]]] = [
        (
            Standing.DEFINED,
            lambda: (
                domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE) if domain.isPersistent() else None
            ),
        ),
        (Standing.RUNNING, lambda: domain.XMLDesc() if domain.isActive() else None),
        (
            Standing.SAVED,
            lambda: domain.managedSaveGetXMLDesc() if domain.hasManagedSaveImage() else None,
        ),
    ]
    for standing, read in readers:
        with contextlib.suppress(libvirt.libvirtError):
            if (text := read()) is not None:
                yield GuestState(name=name, uuid=uuid, standing=standing, xml=text)


def _snapshots(domain: libvirt.virDomain, name: str, uuid: str) -> Iterator[GuestState]:
    try:
        snapshots = domain.listAllSnapshots()
    except libvirt.libvirtError:
        return  # its driver has none, or it was undefined meanwhile
    for snapshot in snapshots:
        with contextlib.suppress(libvirt.libvirtError, GuardError):
            state = snapshot_state(snapshot.getXMLDesc(), name=name, uuid=uuid)
            if state is not None:
                yield state


def guest_names(connection: Connection) -> list[str]:
    """Give the name of every guest, defined or running; raises LibvirtFailed."""
    with translated("list all domains"):
        return [domain.name() for domain in connection.listAllDomains()]


def guest_xml(connection: Connection, guest: str) -> str:
    """Give the domain XML, without secrets, of *guest*: a UUID, a name, or a running guest's id."""
    with translated(f"find guest '{guest}'"):
        return str(_lookup(connection, guest).XMLDesc())


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A guest that runs: its live domain XML without secrets, and how it came to run.

    `how` is None where libvirt does not remember, as after a guest was paused. `is_migrating`: a
    live migration from here or to here has it stand still.
    """

    xml: str
    how: Happening | None
    is_migrating: bool = False


_HOW = {
    (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_RUNNING_BOOTED): Happening.BOOTED,
    (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_RUNNING_MIGRATED): Happening.MIGRATED,
    (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_RUNNING_RESTORED): Happening.RESTORED,
    (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_RUNNING_FROM_SNAPSHOT): Happening.REVERTED,
    (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_FROM_SNAPSHOT): Happening.REVERTED,
}
_MIGRATING = (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_MIGRATION)


def definition(connection: Connection, guest: str) -> str:
    """Give the domain XML, without secrets, that *guest* (UUID or name) is defined by.

    It is what the next start takes, whether or not the guest runs now.
    """
    with translated(f"read the definition of guest '{guest}'"):
        return str(_lookup(connection, guest).XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))


def redefine(connection: Connection, guest: str, change: Callable[[str], str]) -> None:
    """Define *guest* (UUID or name) anew, by what *change* makes of its definition.

    *change* is given the domain XML with its secrets, or they would be lost. A running guest goes
    on as it is; it takes effect at its next start. Raises LibvirtFailed.
    """
    flags = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
    with translated(f"define guest '{guest}' anew"):
        text = str(_lookup(connection, guest).XMLDesc(flags))
        connection.defineXML(change(text))


def running_guests(connection: Connection) -> list[tuple[str, str]]:
    """Give UUID and name of every guest that runs; raises LibvirtFailed."""
    with translated("list running domains"):
        domains = connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)
        return [(domain.UUIDString(), domain.name()) for domain in domains]


def running_guest(connection: Connection, uuid: str) -> Running | None:
    """Give the guest with *uuid*, None where it does not run; raises LibvirtFailed."""
    with translated(f"read guest {uuid}"):
        try:
            domain = connection.lookupByUUIDString(uuid)
            state = tuple(domain.state())
            xml = str(domain.XMLDesc())
            is_running = bool(domain.isActive())
        except libvirt.libvirtError as exc:
            if exc.get_error_code() in _NOT_RUNNING:
                return None
            raise
    if not is_running:
        return None
    return Running(xml=xml, how=_HOW.get(state), is_migrating=state == _MIGRATING)


@contextmanager
def passing_guest(connection: Connection, xml: str) -> Iterator[str]:
    """Start the transient guest in *xml*, paused, for as long as the context lasts; give its UUID.

    It ends with the connection, so with this process at the latest. Raises LibvirtFailed.
    """
    flags = libvirt.VIR_DOMAIN_START_PAUSED | libvirt.VIR_DOMAIN_START_AUTODESTROY
    with translated("start a guest"):
        domain = connection.createXML(xml, flags)
    try:
        yield domain.UUIDString()
    finally:
        with contextlib.suppress(libvirt.libvirtError):
            domain.destroy()


def set_metadata(
    connection: Connection, uuid: str, element: str | None, prefix: str, namespace: str
) -> bool:
    """Put *element*, written without namespace, into a running guest's <metadata>.

    It replaces what is there of *namespace*; None takes that away. The guest's definition stays as
    it is. False where the guest does not run any more. Waits up to 30 s for what else is done to
    the guest, as a migration, then raises LibvirtFailed; LibvirtRefused where it is not allowed.
    """
    kind, flags = libvirt.VIR_DOMAIN_METADATA_ELEMENT, libvirt.VIR_DOMAIN_AFFECT_LIVE
    with translated(f"write metadata of guest {uuid}"):
        try:
            domain = connection.lookupByUUIDString(uuid)
            domain.setMetadata(kind, element, prefix, namespace, flags)
        except libvirt.libvirtError as exc:
            if exc.get_error_code() in _NOT_RUNNING:
                return False
            raise
    return True


def compare_hypervisor_cpu(
    connection: Connection,
    virt_type: str,
    arch: str,
    machine: str | None,
    emulator: str | None,
    cpu: str,
) -> str:
    """Ask how the CPU that a hypervisor gives stands to the <cpu> element *cpu*.

    Give "incompatible", "identical" or "superset". Raises LibvirtFailed where libvirt has no
    answer: this architecture or emulator is not compared, or it does not understand *cpu*.
    """
    with translated(f"compare a CPU with that of {virt_type} {arch} {machine or ''}".rstrip()):
        found = connection.compareHypervisorCPU(emulator, arch, machine, virt_type, cpu)
    return _COMPARED[found]


def guest_as_sent(connection: Connection, guest: str) -> str | None:
    """Give the domain XML, without secrets, that a migration of *guest* would send.

    None for a guest that does not run. It has the CPU as it was written, which is what the
    destination's `migrate` hook sees.
    """
    with translated(f"find guest '{guest}'"):
        domain = _lookup(connection, guest)
        if not domain.isActive():
            return None
        return str(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE))


def _lookup(connection: Connection, guest: str) -> libvirt.virDomain:
    # the order in which virsh takes a domain argument: id, UUID, name
    lookups: list[Callable[[], libvirt.virDomain]] = [
        lambda: connection.lookupByUUIDString(guest),
        lambda: connection.lookupByName(guest),
    ]
    if guest.isascii() and guest.isdigit():
        lookups.insert(0, lambda: connection.lookupByID(int(guest)))
    for lookup in lookups[:-1]:
        try:
            return lookup()
        except libvirt.libvirtError:
            continue
    return lookups[-1]()
