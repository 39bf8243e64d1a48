"""Connections to libvirt, its event loop, and its errors as ours."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

import libvirt

from guardd.errors import LibvirtFailed, LibvirtRefused

_REFUSALS = frozenset(
    {
        libvirt.VIR_ERR_OPERATION_DENIED,  # a read-only connection
        libvirt.VIR_ERR_ACCESS_DENIED,  # libvirt's access driver
        libvirt.VIR_ERR_AUTH_CANCELLED,
        libvirt.VIR_ERR_AUTH_FAILED,
        libvirt.VIR_ERR_AUTH_UNAVAILABLE,
    }
)
Connection: TypeAlias = libvirt.virConnect


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn libvirt's error into a LibvirtFailed that says what was being done.

    LibvirtRefused where only rights are missing. What libvirt cannot even be asked is the same:
    a name that is not UTF-8, a number that is too large for it.
    """
    try:
        yield
    except libvirt.libvirtError as exc:
        kind = LibvirtRefused if exc.get_error_code() in _REFUSALS else LibvirtFailed
        raise kind(f"cannot {doing}: {exc.get_error_message() or exc}") from exc
    except (UnicodeError, OverflowError) as exc:
        raise LibvirtFailed(f"cannot {doing}: libvirt takes no such name") from exc


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


def close(connection: Connection) -> None:
    """Close *connection*; that it is gone already is no error."""
    try:
        connection.unregisterCloseCallback()
        connection.close()
    except libvirt.libvirtError:
        pass
