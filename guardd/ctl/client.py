"""Calls the daemon on its socket."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from guardd import wire
from guardd.errors import BadRequest, DaemonUnreachable

SECONDS = 5.0


def call(
    method: str, parameters: Mapping[str, Any], path: str, *, seconds: float = SECONDS
) -> Mapping[str, Any]:
    """Give the reply's parameters; raises DaemonUnreachable, BadRequest for an error reply.

    *seconds*: for each step of the way.
    """
    message = wire.format_call(f"{wire.INTERFACE}.{method}", parameters)
    reply = b""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(seconds)
            connection.connect(path)
            connection.sendall(message)
            while not reply.endswith(b"\0"):
                part = connection.recv(65536)
                if not part or len(reply) > wire.MAX_FRAME:
                    raise BadRequest("the daemon closed the connection within its reply")
                reply += part
    except PermissionError as exc:
        hint = "run it as root or as a member of group libvirt"
        raise DaemonUnreachable(f"not permitted to ask the daemon on {path}", hint=hint) from exc
    except OSError as exc:
        hint = "see: systemctl status cpu-guardd"
        problem = f"the daemon does not answer on {path}: {exc.strerror or exc}"
        raise DaemonUnreachable(problem, hint=hint) from exc
    return wire.parse_reply(reply[:-1])


@contextmanager
def understood() -> Iterator[None]:
    """Make of a reply that is not as the interface says, where it is read, a BadRequest."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as exc:
        hint = "it may be of another version: systemctl restart cpu-guardd"
        raise BadRequest(f"the daemon's reply is not understood: {exc!r}", hint=hint) from exc
