"""The socket: who calls, how long and how much they may send, one reply each."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import select
import socket
import struct
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from guardd import wire
from guardd.errors import BadRequest
from guardd.wire import Call

logger = logging.getLogger(__name__)

READ_BYTES = 1 << 18
PEER_SECONDS = 5.0  # for a whole message once connected, for the next one, to take a reply
MAX_CONNECTIONS = 4096  # a host that starts 2000 guests at boot has as many callers at once
BACKLOG = 4096  # asyncio listens anew and would set its own 100 over the socket unit's
MAX_UNTRUSTED_FRAME = 65536  # who may only ask for the status has no more to say
UCRED = struct.Struct("3i")  # struct ucred of unix(7): pid, uid, gid

ROOT_UID = 0


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end, as the kernel says."""

    pid: int
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Method:
    """What a method does: parameters in, parameters of the reply out; who may call it.

    `missed` is given the parameters of a call in place of `answer` where the caller has left.
    """

    answer: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    is_privileged: bool
    missed: Callable[[Mapping[str, Any]], None] | None = None


class Server:
    """Serves Varlink calls on a listening unix socket; lives in one asyncio loop."""

    def __init__(
        self, methods: Mapping[str, Method], own_uid: int, *, seconds: float = PEER_SECONDS
    ) -> None:
        self._methods = methods
        self._seconds = seconds
        self._trusted = frozenset({ROOT_UID, own_uid})
        self._connections: set[asyncio.Task[None]] = set()

    async def listen(self, listener: socket.socket) -> asyncio.Server:
        """Accept on *listener* from now on."""
        if sys.version_info >= (3, 13):
            # systemd's socket outlives this process; from 3.13 on, asyncio would remove its file
            return await asyncio.start_unix_server(
                self._connected, sock=listener, backlog=BACKLOG, cleanup_socket=False
            )
        return await asyncio.start_unix_server(self._connected, sock=listener, backlog=BACKLOG)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._connections) >= MAX_CONNECTIONS:
            writer.close()
            return
        self._connections.add(task)
        try:
            await self._serve(reader, writer)
        except (TimeoutError, ConnectionError):
            # the peer left, or was too slow: its hook has a deadline and an answer of its own
            writer.transport.abort()
        finally:
            self._connections.discard(task)
            writer.close()
            with contextlib.suppress(Exception):
                await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("socket")
        peer = peer_of(connection)
        limit = wire.MAX_FRAME if peer.uid in self._trusted else MAX_UNTRUSTED_FRAME
        rest = b""
        while True:
            try:
                async with asyncio.timeout(self._seconds):
                    frame, rest = await _read_frame(reader, rest, limit)
            except BadRequest as exc:
                await self._send(writer, _bad_request(exc))
                return
            if frame is None:
                return
            if has_left(connection):
                # a hook that left has judged by itself: a second verdict would confuse
                self.note_missed(frame, peer)
                return
            reply = self.reply_to(frame, peer)
            if reply is not None:
                await self._send(writer, reply)

    async def _send(self, writer: asyncio.StreamWriter, reply: bytes) -> None:
        writer.write(reply)
        async with asyncio.timeout(self._seconds):
            await writer.drain()

    def reply_to(self, frame: bytes, peer: Peer) -> bytes | None:
        """Answer one message; None where the caller wants no reply. Never raises."""
        oneway = False
        try:
            call = wire.parse_call(frame)
            oneway = call.oneway
            reply = self._answer(call, peer)
        except BadRequest as exc:
            reply = _bad_request(exc)
        except Exception:
            logger.exception("a call failed")
            reply = wire.format_error(f"{wire.INTERFACE}.Internal")
        return None if oneway else reply

    def note_missed(self, frame: bytes, peer: Peer) -> None:
        """Let the method know of a message that needs no answer any more. Never raises."""
        try:
            call = wire.parse_call(frame)
            interface, _, name = call.method.rpartition(".")
            method = self._methods.get(name) if interface == wire.INTERFACE else None
            if method is None or method.missed is None:
                return
            if not method.is_privileged or peer.uid in self._trusted:
                method.missed(call.parameters)
        except BadRequest:
            return
        except Exception:
            logger.exception("a call that was missed could not be noted")

    def _answer(self, call: Call, peer: Peer) -> bytes:
        if call.method == f"{wire.SERVICE}.GetInfo":
            return wire.format_reply(wire.service_info())
        if call.method == f"{wire.SERVICE}.GetInterfaceDescription":
            return _describe(call)
        interface, _, name = call.method.rpartition(".")
        if interface != wire.INTERFACE:
            return wire.format_error(f"{wire.SERVICE}.InterfaceNotFound", {"interface": interface})
        method = self._methods.get(name)
        if method is None:
            return wire.format_error(f"{wire.SERVICE}.MethodNotFound", {"method": call.method})
        if method.is_privileged and peer.uid not in self._trusted:
            return wire.format_error(f"{wire.INTERFACE}.NotPermitted")
        return wire.format_reply(method.answer(call.parameters))


def _describe(call: Call) -> bytes:
    descriptions = {
        wire.INTERFACE: wire.DESCRIPTION,
        wire.SERVICE: wire.SERVICE_DESCRIPTION,
    }
    name = call.parameters.get("interface")
    if not isinstance(name, str):
        return wire.format_error(f"{wire.SERVICE}.InvalidParameter", {"parameter": "interface"})
    if name not in descriptions:
        return wire.format_error(f"{wire.SERVICE}.InterfaceNotFound", {"interface": name})
    return wire.format_reply({"description": descriptions[name]})


def _bad_request(exc: BadRequest) -> bytes:
    return wire.format_error(f"{wire.INTERFACE}.BadRequest", {"reason": str(exc)})


async def _read_frame(
    reader: asyncio.StreamReader, rest: bytes, limit: int
) -> tuple[bytes | None, bytes]:
    """Read up to the next NUL; give the message, None at the end, and what came after it."""
    parts = [rest]
    size = len(rest)
    while b"\0" not in parts[-1]:
        part = await reader.read(READ_BYTES)
        if not part:
            return None, b""
        size += len(part.partition(b"\0")[0])
        if size > limit:
            raise BadRequest(f"message exceeds {limit} bytes")
        parts.append(part)
    frame, _, after = b"".join(parts).partition(b"\0")
    return frame, after


def peer_of(connection: socket.socket) -> Peer:
    """Ask the kernel who opened *connection* (SO_PEERCRED, unix(7))."""
    return Peer(*UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)))


def has_left(connection: socket.socket) -> bool:
    """Whether the other end is closed, not only for writing (POLLHUP, poll(2))."""
    poll = select.poll()
    poll.register(connection.fileno(), 0)
    return any(event & select.POLLHUP for _, event in poll.poll(0))


def open_socket(path: str) -> socket.socket:
    """Listen on *path* oneself, where systemd does not; root and the owner may connect."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(128)
    return listener
