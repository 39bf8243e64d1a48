"""The listener for Prometheus: as much of HTTP/1.1 as GET /metrics needs, and its limits."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import re
import socket
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from guardd.errors import BadConfig

logger = logging.getLogger(__name__)

SCRAPE_SECONDS = 5.0  # for all of a scrape: request, answer, and its way back
MAX_REQUEST = 8192  # bytes up to the empty line; Prometheus sends some 300
MAX_CONNECTIONS = 256
IDLE_SECONDS = 300.0  # systemd starts the program again for the next scrape
PATH = b"/metrics"

# RFC 9112, section 3: the request line; all that follows up to the empty line says nothing new
_REQUEST = re.compile(rb"([A-Z]+) ([!-~]+) HTTP/1\.[01]\r\n")

Exposition = Callable[[], Awaitable[bytes]]
Start = Callable[..., Awaitable[asyncio.Server]]


class ScrapeServer:
    """Answers each connection's one request with what *exposition* gives; lives in one loop."""

    def __init__(
        self,
        exposition: Exposition,
        content_type: str,
        *,
        seconds: float = SCRAPE_SECONDS,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._exposition = exposition
        self._content_type = content_type
        self._seconds = seconds
        self._connections: set[asyncio.Task[None]] = set()
        self._idle_seconds = idle_seconds
        self._idle = asyncio.Event()
        self._timer = asyncio.get_running_loop().call_later(idle_seconds, self._idle.set)

    async def listen(self, listener: socket.socket) -> asyncio.Server:
        """Accept on *listener* from now on; raises BadConfig for one that others can reach."""
        if not is_local(listener):
            raise BadConfig(
                f"metrics are not served on {listener.getsockname()[0]}: there is neither"
                " encryption nor a password, so only a loopback address or a unix socket is taken",
                hint="see: systemctl cat cpu-guardd-metrics.socket",
            )
        is_unix = listener.family == socket.AF_UNIX
        start: Start = asyncio.start_unix_server if is_unix else asyncio.start_server
        # asyncio listens anew and would set its own 100 over the socket unit's backlog
        return await start(
            self._connected, sock=listener, limit=MAX_REQUEST, backlog=MAX_CONNECTIONS
        )

    async def until_idle(self) -> None:
        """Wait until nobody has connected for `idle_seconds`."""
        await self._idle.wait()

    def _note_life(self) -> None:
        self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._idle_seconds, self._idle.set)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._connections) >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        self._note_life()
        self._connections.add(task)
        try:
            async with asyncio.timeout(self._seconds):
                await self._serve(reader, writer)
                writer.close()
                await writer.wait_closed()
        except (TimeoutError, ConnectionError):
            writer.transport.abort()  # too slow, or gone
        finally:
            self._connections.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return
        except asyncio.LimitOverrunError:
            status = HTTPStatus.BAD_REQUEST
        else:
            status = status_for(head)
        body = b""
        if status is HTTPStatus.OK:
            try:
                body = await self._exposition()
            except Exception:
                logger.exception("a scrape failed")
                status = HTTPStatus.INTERNAL_SERVER_ERROR
        writer.write(format_response(status, body, self._content_type))
        await writer.drain()
        if status is HTTPStatus.BAD_REQUEST and writer.can_write_eof():
            # what is left unread would reset the connection, and the answer with it
            writer.write_eof()
            with contextlib.suppress(asyncio.IncompleteReadError):
                await reader.readexactly(MAX_REQUEST)


def status_for(head: bytes) -> HTTPStatus:
    """Say what a request deserves; *head*: all of it up to the empty line."""
    request = _REQUEST.match(head)
    if request is None:
        return HTTPStatus.BAD_REQUEST
    if request[2].partition(b"?")[0] != PATH:
        return HTTPStatus.NOT_FOUND
    if request[1] != b"GET":
        return HTTPStatus.METHOD_NOT_ALLOWED
    return HTTPStatus.OK


def format_response(status: HTTPStatus, body: bytes, content_type: str) -> bytes:
    """Write a response; *body* and its type count for OK only, the others say their status."""
    if status is not HTTPStatus.OK:
        body, content_type = f"{status.phrase}\n".encode(), "text/plain; charset=utf-8"
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *(["Allow: GET"] if status is HTTPStatus.METHOD_NOT_ALLOWED else []),
    ]
    return "".join(f"{line}\r\n" for line in lines).encode("ascii") + b"\r\n" + body


def is_local(listener: socket.socket) -> bool:
    """Whether only this host's programs can reach *listener*."""
    if listener.family == socket.AF_UNIX:
        return True
    return ipaddress.ip_address(listener.getsockname()[0]).is_loopback
