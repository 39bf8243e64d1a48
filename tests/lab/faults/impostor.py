"""Run inside a host, at the socket of a daemon that was stopped: a peer that misbehaves.

impostor.py HOW SOCKET. It writes no verdict that is whole and sound, so the hook must not take any.
"""

import contextlib
import os
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

VERDICT = b'{"parameters":{"refused":true,"line":"cpu-guardd[impostor]: refused"}}'
LATE_SECONDS = 1.5  # the hook's deadline is 1 s
MANY = 1 << 20


def late(peer: socket.socket) -> None:
    """Answer when nobody waits any more."""
    time.sleep(LATE_SECONDS)
    peer.sendall(VERDICT + b"\0")


def dripping(peer: socket.socket) -> None:
    """Give a byte at a time: each read succeeds, the whole never comes in time."""
    for byte in VERDICT:
        peer.sendall(bytes([byte]))
        time.sleep(0.1)


def silent(_peer: socket.socket) -> None:
    """Read nothing and say nothing, until the caller gives up."""
    time.sleep(LATE_SECONDS)


def gone(_peer: socket.socket) -> None:
    """Close at once."""


def half(peer: socket.socket) -> None:
    """Answer the beginning, and close."""
    peer.sendall(VERDICT[: len(VERDICT) // 2])


def garbage(peer: socket.socket) -> None:
    """Send what is no JSON, as a whole message."""
    peer.sendall(os.urandom(999).replace(b"\0", b"\1") + b"\0")


def endless(peer: socket.socket) -> None:
    """Send without an end, as fast as it is taken."""
    deadline = time.monotonic() + LATE_SECONDS
    while time.monotonic() < deadline:
        peer.sendall(b"x" * MANY)


def huge(peer: socket.socket) -> None:
    """Send a verdict behind more blanks than anybody needs to read."""
    peer.sendall(b" " * (4 * MANY) + VERDICT + b"\0")


def empty(peer: socket.socket) -> None:
    """Send a reply with nothing in it."""
    peer.sendall(b'{"parameters":{}}\0')


WAYS: Mapping[str, Callable[[socket.socket], None]] = MappingProxyType(
    {
        each.__name__: each
        for each in (late, dripping, silent, gone, half, garbage, endless, huge, empty)
    }
)


def main(how: str, path: str) -> None:
    """Serve until killed, a thread for each caller."""
    Path(path).unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    shutil.chown(path, group="libvirt")
    Path(path).chmod(0o660)
    listener.listen(128)
    while True:
        peer, _ = listener.accept()
        threading.Thread(target=talk, args=(WAYS[how], peer), daemon=True).start()


def talk(way: Callable[[socket.socket], None], peer: socket.socket) -> None:
    """Talk to one caller, who may leave at any time."""
    with peer, contextlib.suppress(OSError):
        way(peer)


if __name__ == "__main__":
    main(*sys.argv[1:])
