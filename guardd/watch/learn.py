"""Asks libvirt what this host is and what its hypervisors give; calls may block."""

from __future__ import annotations

import contextlib
import datetime as dt
import socket
import threading
from collections.abc import Iterable
from types import MappingProxyType

from guardd import libvirtconn
from guardd.cpu import same_family
from guardd.cpu.arm.host import ArmHost
from guardd.cpu.definition import Arch
from guardd.errors import GuardError
from guardd.facts.capabilities import Capabilities, parse_capabilities
from guardd.facts.domain import parse_domain
from guardd.facts.domcaps import Hypervisor, HypervisorKey, parse_domcaps
from guardd.facts.snapshot import HostSnapshot
from guardd.libvirtconn import Connection
from guardd.probe.cpu_map import open_cpu_map
from guardd.probe.fingerprint import read_fingerprint
from guardd.probe.hardware import read_hardware

# While lxml parses, libxml2's loader of files is lxml's, for the whole process. Of two threads that
# parse at once one leaves it so, and libvirt crashes when it reads a file, as for test:///FILE
# (lxml's parser.pxi, _register_document_loader and _local_resolver).
_PARSING = threading.Lock()


def utc_now() -> str:
    """Give the UTC time in ISO 8601, to the second."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def learn_host(connection: Connection) -> tuple[HostSnapshot, list[HypervisorKey]]:
    """Read capabilities: give a snapshot without hypervisors, and which ones to ask about.

    Those are the defaults of this host's own architecture and what its guests use.
    Raises LibvirtFailed, and what `parse_capabilities` raises.
    """
    supported = parse_capabilities(libvirtconn.capabilities(connection))
    snapshot = _described(connection, supported, socket.gethostname())
    snapshot = snapshot._replace(arm=_arm_host(supported.arch))
    return snapshot, _wanted(supported, libvirtconn.all_guests(connection))


def learn_elsewhere(connection: Connection) -> tuple[HostSnapshot, list[HypervisorKey]]:
    """Do the same for another host that *connection* leads to; its guests are not looked at.

    What only the host itself can read is not in the snapshot: fingerprint, Arm registers.
    """
    text = libvirtconn.capabilities(connection)
    with _PARSING:
        supported = parse_capabilities(text)
    snapshot = _described(connection, supported, libvirtconn.hostname(connection))
    return snapshot, _wanted(supported, ())


def _described(connection: Connection, supported: Capabilities, hostname: str) -> HostSnapshot:
    machines = {
        support.arch: MappingProxyType(
            {name: canonical for name, canonical in support.machines if name != canonical}
        )
        for support in supported.guests
    }
    return HostSnapshot(
        hostname=hostname,
        taken=utc_now(),
        libvirt=libvirtconn.version(connection),
        qemu=libvirtconn.qemu_version(connection),
        arch=supported.arch,
        host_cpu=supported.host_cpu,
        machines=MappingProxyType(machines),
    )


def _arm_host(arch: Arch) -> ArmHost | None:
    """Read what libvirt does not tell of an aarch64 host, None of any other."""
    if arch is not Arch.AARCH64:
        return None
    try:
        return read_hardware(open_cpu_map()).arm
    except GuardError:
        return None


def learn_hypervisor(connection: Connection, key: HypervisorKey) -> Hypervisor:
    """Read the domain capabilities of *key*.

    Raises LibvirtFailed, and what `parse_domcaps` raises.
    """
    text = libvirtconn.domain_capabilities(connection, *key)
    with _PARSING:
        return parse_domcaps(text)


def learn_key(connection: Connection, guest: str) -> HypervisorKey:
    """Tell which hypervisor runs *guest* (UUID or name); raises LibvirtFailed, InvalidDomain."""
    return _key(libvirtconn.guest_xml(connection, guest))


def with_fingerprint(snapshot: HostSnapshot) -> HostSnapshot:
    """Give *snapshot* with the fingerprint that this host has now."""
    emulators = (hypervisor.emulator for hypervisor in snapshot.hypervisors)
    return snapshot._replace(fingerprint=read_fingerprint(emulators))


def _wanted(supported: Capabilities, guests: Iterable[str]) -> list[HypervisorKey]:
    # Most guests are of the host's own kind: what there is of a snapshot that is just being made
    # should be right for them.
    own_first = sorted(supported.guests, key=lambda support: support.arch is not supported.arch)
    keys = [
        HypervisorKey(virt_type, support.arch, None, support.emulator)
        for support in own_first
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
