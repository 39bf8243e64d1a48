"""The one door to libvirt: connections, capabilities, guests, events. It may block or fail."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from guardd.libvirtconn.connection import (
        Connection,
        close,
        open_connection,
        silence_stderr,
        start_event_loop,
    )
    from guardd.libvirtconn.events import (
        STARTS,
        GuestEvent,
        Happening,
        Listeners,
        watch,
    )
    from guardd.libvirtconn.guests import (
        Running,
        all_guests,
        definition,
        guest_as_sent,
        guest_names,
        guest_states,
        guest_xml,
        guests_as_sent,
        passing_guest,
        redefine,
        running_guest,
        running_guests,
        set_metadata,
    )
    from guardd.libvirtconn.host import (
        capabilities,
        compare_hypervisor_cpu,
        domain_capabilities,
        hostname,
        qemu_version,
        version,
    )

__all__ = [
    "STARTS",
    "Connection",
    "GuestEvent",
    "Happening",
    "Listeners",
    "Running",
    "all_guests",
    "capabilities",
    "close",
    "compare_hypervisor_cpu",
    "definition",
    "domain_capabilities",
    "guest_as_sent",
    "guest_names",
    "guest_states",
    "guest_xml",
    "guests_as_sent",
    "hostname",
    "open_connection",
    "passing_guest",
    "qemu_version",
    "redefine",
    "running_guest",
    "running_guests",
    "set_metadata",
    "silence_stderr",
    "start_event_loop",
    "version",
    "watch",
]

_ROOMS = ("connection", "events", "guests", "host")


def __getattr__(name: str) -> object:
    """Open the door when something is taken out: libvirt takes its time, and many need nothing."""
    if name in __all__:
        for room in _ROOMS:
            module = importlib.import_module(f"{__name__}.{room}")
            if hasattr(module, name):
                return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
