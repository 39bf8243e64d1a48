"""What systemd gives a service, and is told by it: sockets, readiness, the watchdog."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
from pathlib import Path
from typing import cast

from systemd import daemon as systemd_daemon

NOTIFY_SECONDS = 0.1  # the hook waits for a second for a verdict


def notify(state: str) -> None:
    """Tell systemd *state* ("READY=1", "WATCHDOG=1", ...); nothing happens outside a unit.

    Waits for NOTIFY_SECONDS at most, where sd_notify() would wait for ever for a systemd that does
    not read: the same thread gives verdicts. Source: sd_notify(3), "Notes".
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return
    # nothing is to be done about a systemd that cannot be told
    with contextlib.suppress(OSError):
        _sender().sendto(state.encode("utf-8", "replace"), address.replace("@", "\0", 1))


@functools.cache
def _sender() -> socket.socket:
    """Give the socket to tell systemd by; kept, as there may be no descriptor for it later."""
    sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sender.settimeout(NOTIFY_SECONDS)
    return sender


def runtime_directory() -> Path | None:
    """Give the folder in memory that systemd made for this service; None outside of one.

    Source: RuntimeDirectory= in systemd.exec(5).
    """
    name = os.environ.get("RUNTIME_DIRECTORY")
    return Path(name) if name else None


def listening_sockets(*, any_family: bool = False) -> list[socket.socket]:
    """Give the sockets that systemd opened for this service; empty outside of one.

    Only unix sockets, unless of *any_family*.
    """
    return [
        socket.socket(fileno=fd)
        for fd in cast("list[int]", systemd_daemon.listen_fds())
        if any_family or systemd_daemon.is_socket_unix(fd)
    ]
