"""What libvirt says of its guests, and the little that is written into them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import libvirt

from guardd.errors import GuardError
from guardd.facts.states import GuestState, Standing, snapshot_state
from guardd.libvirtconn.connection import Connection, translated
from guardd.libvirtconn.events import Happening

# of a guest that stopped meanwhile; a transient one is unknown then
ID_DIGITS = 9  # libvirt takes an int
_NOT_RUNNING = frozenset({libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID})


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


def guests_as_sent(connection: Connection) -> Iterator[tuple[str, str, str, str | None]]:
    """Give name, UUID, XML and what a migration would send of every guest, all without secrets.

    The last is None for a guest that does not run, and where libvirt does not tell it on this
    connection. Raises LibvirtFailed where there is no list of guests.
    """
    with translated("list all domains"):
        domains = connection.listAllDomains()
    for domain in domains:
        with contextlib.suppress(libvirt.libvirtError):  # it was undefined meanwhile
            yield domain.name(), domain.UUIDString(), str(domain.XMLDesc()), _as_sent(domain)


def _as_sent(domain: libvirt.virDomain) -> str | None:
    try:
        if not domain.isActive():
            return None
        return str(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE))
    except libvirt.libvirtError:
        return None


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
    if guest.isascii() and guest.isdigit() and len(guest) <= ID_DIGITS:
        lookups.insert(0, lambda: connection.lookupByID(int(guest)))
    for lookup in lookups[:-1]:
        try:
            return lookup()
        except libvirt.libvirtError:
            continue
    return lookups[-1]()
