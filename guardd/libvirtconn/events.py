"""What libvirt tells by itself: guests' events, and the end of the connection."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

import libvirt

from guardd.libvirtconn.connection import Connection, translated

# seconds between probes and how many may go unanswered: a libvirtd that hangs is noticed in 45 s;
# each wakes this process up, as libvirtd's own probes do every 5 s
KEEPALIVE = (15, 2)


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
