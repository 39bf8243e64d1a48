"""The socket: who calls, how long and how much they may send, one reply each."""

from __future__ import annotations

import asyncio
import logging
import select
import socket
import struct
from collections import Counter
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guardd import wire
from guardd.errors import BadRequest
from guardd.wire import Call

logger = logging.getLogger(__name__)

READ_BYTES = 1 << 18
PEER_SECONDS = 5.0  # for a whole message once connected, for the next one, to take a reply
MAX_CONNECTIONS = 4096  # a host that starts 2000 guests at boot has as many callers at once
MAX_OF_A_USER = 16  # who may only ask for the status; its readers ask and leave
MAX_OF_USERS = 256  # all of those together, beside MAX_CONNECTIONS
ACCEPTED_AT_ONCE = 64  # then those who were let in have their turn
REFUSED_SECONDS = 0.1  # until the next try where the kernel gives no descriptor; the hook waits 1 s
BACKLOG = 4096  # as the socket unit's
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
    """What a method does: parameters in, the reply in bytes out; who may call it.

    `missed` is given the parameters of a call in place of `answer` where the caller has left.
    """

    answer: Callable[[Mapping[str, Any]], bytes]
    is_privileged: bool
    missed: Callable[[Mapping[str, Any]], None] | None = None


class Callers:
    """Counts the connections of each user; nobody can take the room of root and the service."""

    def __init__(self, trusted: Container[int]) -> None:
        self._trusted = trusted
        self._open: Counter[int] = Counter()
        self._sums: Counter[bool] = Counter()

    def admit(self, uid: int) -> bool:
        """Count one more connection of *uid*; False where there is no room for it."""
        is_trusted = uid in self._trusted
        limit = MAX_CONNECTIONS if is_trusted else MAX_OF_USERS
        if self._sums[is_trusted] >= limit:
            return False
        if not is_trusted and self._open[uid] >= MAX_OF_A_USER:
            return False
        self._open[uid] += 1
        self._sums[is_trusted] += 1
        return True

    def leave(self, uid: int) -> None:
        """Count one less."""
        self._sums[uid in self._trusted] -= 1
        self._open[uid] -= 1
        if not self._open[uid]:
            del self._open[uid]


@dataclass(frozen=True, slots=True)
class Listening:
    """A socket on which connections are accepted, in its loop's thread, until it is closed."""

    loop: asyncio.AbstractEventLoop
    listener: socket.socket
    path: str  # where callers look for it
    file: tuple[int, int] | None  # device and inode of what was there; None: it is no file

    def can_be_found(self) -> bool:
        """Whether the way to it is as it was: its file may have been removed, or replaced."""
        return self.file == _file(self.path)

    def close(self) -> None:
        """Accept no more; who is connected stays."""
        self.loop.remove_reader(self.listener)
        self.listener.close()


class Server:
    """Serves Varlink calls on a listening unix socket; lives in one asyncio loop."""

    def __init__(
        self, methods: Mapping[str, Method], own_uid: int, *, seconds: float = PEER_SECONDS
    ) -> None:
        self._methods = methods
        self._seconds = seconds
        self._trusted = frozenset({ROOT_UID, own_uid})
        self._callers = Callers(self._trusted)
        self._is_full = False  # no descriptor was left, and that was said
        self._connections: set[asyncio.Task[None]] = set()

    def listen(self, listener: socket.socket) -> Listening:
        """Accept on *listener* from now on; for the loop that runs."""
        # asyncio's own server would make a task of each caller before it knows who that is
        listener.settimeout(0)
        listener.listen(BACKLOG)
        path = str(listener.getsockname())
        listening = Listening(asyncio.get_running_loop(), listener, path, _file(path))
        self._await_callers(listening)
        return listening

    def _await_callers(self, listening: Listening) -> None:
        if listening.listener.fileno() >= 0:  # it may have been closed meanwhile
            listening.loop.add_reader(listening.listener, self._accept, listening)

    def _accept(self, listening: Listening) -> None:
        """Let some in of those who wait, and turn those away for whom there is no room."""
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                connection, _address = listening.listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as exc:
                if not self._is_full:
                    logger.warning("nobody can be let in: %s", exc.strerror)
                self._is_full = True
                listening.loop.remove_reader(listening.listener)
                listening.loop.call_later(REFUSED_SECONDS, self._await_callers, listening)
                return
            self._is_full = False
            peer = peer_of(connection)
            if not self._callers.admit(peer.uid):
                connection.close()
                continue
            task = listening.loop.create_task(self._connected(connection, peer))
            self._connections.add(task)  # the loop itself holds tasks weakly
            task.add_done_callback(self._connections.discard)

    async def _connected(self, connection: socket.socket, peer: Peer) -> None:
        try:
            reader, writer = await asyncio.open_unix_connection(sock=connection)
            try:
                await self._serve(reader, writer, peer)
                writer.close()
                async with asyncio.timeout(self._seconds):
                    await writer.wait_closed()
            except BaseException:
                writer.transport.abort()  # one that takes no reply would stay open for ever
                raise
        except (TimeoutError, ConnectionError):
            pass  # the peer left, or was too slow: its hook has a deadline and an answer of its own
        finally:
            self._callers.leave(peer.uid)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: Peer
    ) -> None:
        connection = writer.get_extra_info("socket")
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
            # one who sends many calls at once waits for the others' turn after each
            await asyncio.sleep(0)

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
        return method.answer(call.parameters)


def _file(path: str) -> tuple[int, int] | None:
    try:
        state = Path(path).stat()
    except (OSError, ValueError):
        return None
    return state.st_dev, state.st_ino


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
