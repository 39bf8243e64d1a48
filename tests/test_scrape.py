"""The listener for Prometheus: HTTP as curl speaks it, and what no scraper should send."""

from __future__ import annotations

import asyncio
import logging
import select
import socket
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from http import HTTPStatus
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardd import scrape
from guardd.errors import BadConfig
from guardd.scrape import ScrapeServer, format_response, is_local, status_for

SECONDS = 20.0  # far more than any step takes
SOON = 0.3  # a deadline that the tests wait for
TYPE = "text/plain; version=0.0.4; charset=utf-8"
BODY = b"cpu_guardd_up 1.0\n"
GET = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
ANSWER = format_response(HTTPStatus.OK, BODY, TYPE)

Talk = Callable[[str], Awaitable[None]]


async def up() -> bytes:
    """Give the metrics."""
    return BODY


def run(
    folder: Path,
    talk: Talk,
    exposition: Callable[[], Awaitable[bytes]] = up,
    seconds: float = SECONDS,
) -> None:
    """Serve on a socket in *folder* while *talk* goes on."""
    path = str(folder / "metrics.sock")

    async def both() -> None:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        server = ScrapeServer(exposition, TYPE, seconds=seconds)
        async with await server.listen(listener), asyncio.timeout(SECONDS):
            await talk(path)

    asyncio.run(both())


async def exchange(path: str, *parts: bytes) -> bytes:
    """Send *parts* and give all that comes back."""
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def until_dropped(connection: socket.socket) -> None:
    """Wait until the other end has closed, whatever it has written before."""
    poll = select.poll()
    poll.register(connection, 0)  # POLLHUP needs no asking (poll(2))
    assert await asyncio.to_thread(poll.poll, SECONDS * 1e3)


def test_a_scrape(tmp_path: Path) -> None:
    """The whole answer, byte for byte; the connection ends with it."""

    async def talk(path: str) -> None:
        assert (
            b"HTTP/1.1 200 OK\r\n"
            b"Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
            b"Content-Length: 18\r\n"
            b"Connection: close\r\n"
            b"\r\n"
            b"cpu_guardd_up 1.0\n"
        ) == await exchange(path, GET)

    run(tmp_path, talk)


def test_a_request_in_single_bytes(tmp_path: Path) -> None:
    """However the kernel cuts it."""

    async def talk(path: str) -> None:
        assert ANSWER == await exchange(path, *(GET[n : n + 1] for n in range(len(GET))))

    run(tmp_path, talk)


REQUESTS = [
    pytest.param(GET, 200, id="curl"),
    pytest.param(b"GET /metrics HTTP/1.0\r\n\r\n", 200, id="old, without a host"),
    pytest.param(b"GET /metrics?name[]=up HTTP/1.1\r\n\r\n", 200, id="query"),
    pytest.param(b"GET / HTTP/1.1\r\n\r\n", 404, id="another page"),
    pytest.param(b"GET /metrics/../etc/passwd HTTP/1.1\r\n\r\n", 404, id="folders"),
    pytest.param(b"POST / HTTP/1.1\r\n\r\n", 404, id="another page, changed"),
    pytest.param(b"POST /metrics HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody", 405, id="a body"),
    pytest.param(b"HEAD /metrics HTTP/1.1\r\n\r\n", 405, id="head"),
    pytest.param(b"get /metrics HTTP/1.1\r\n\r\n", 400, id="small letters"),
    pytest.param(b"GET /metrics HTTP/2.0\r\n\r\n", 400, id="HTTP/2"),
    pytest.param(b"GET /metrics\r\n\r\n", 400, id="HTTP/0.9"),
    pytest.param(b"GET /met\0rics HTTP/1.1\r\n\r\n", 400, id="a NUL"),
    pytest.param(b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400, id="TLS"),
    pytest.param(b'{"method":"io.cpuguardd.Guard.GetStatus"}\0\r\n\r\n', 400, id="Varlink"),
    pytest.param(b"\r\n\r\n", 400, id="nothing"),
    pytest.param(b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 100_000, 400, id="too much"),
]


@pytest.mark.parametrize(("request_", "status"), REQUESTS)
def test_status(request_: bytes, status: int, tmp_path: Path) -> None:
    """GET /metrics and nothing else; whoever sends anything else is told."""

    async def talk(path: str) -> None:
        answer = await exchange(path, request_)
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert (status == 405) == (b"\r\nAllow: GET\r\n" in answer)
        assert ANSWER == await exchange(path, GET)

    run(tmp_path, talk)


@given(st.binary(max_size=300))
def test_garbage_is_refused_and_nothing_worse(head: bytes) -> None:
    """Any bytes have a status, and hardly any are OK."""
    status = status_for(head)

    assert status is HTTPStatus.BAD_REQUEST or head.partition(b"\r\n")[0].count(b" ") == 2


def test_who_says_nothing_is_dropped(tmp_path: Path) -> None:
    """And so is who trickles: all of a scrape has one deadline."""

    async def talk(path: str) -> None:
        clock = asyncio.get_running_loop().time
        reader, writer = await asyncio.open_unix_connection(path)
        start = clock()
        closed = asyncio.create_task(reader.read())
        for number in range(len(GET) - 1):
            writer.write(GET[number : number + 1])
            if (await asyncio.wait([closed], timeout=SOON / 10))[0]:
                break
        assert b"" == await closed
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        assert SOON <= clock() - start < SECONDS

    run(tmp_path, talk, seconds=SOON)


def test_who_does_not_read_is_dropped(tmp_path: Path) -> None:
    """An answer larger than the kernel takes does not wait for ever."""

    async def large() -> bytes:
        return b"#" * (8 << 20)

    async def talk(path: str) -> None:
        with socket.socket(socket.AF_UNIX) as connection:
            await asyncio.to_thread(connection.connect, path)
            connection.sendall(GET)
            assert (await exchange(path, b"GET / HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 404 ")
            await until_dropped(connection)

    run(tmp_path, talk, exposition=large, seconds=SOON)


def test_a_hundred_at_once(tmp_path: Path) -> None:
    """Each gets its answer."""

    async def talk(path: str) -> None:
        answers = await asyncio.gather(*(exchange(path, GET) for _ in range(100)))
        assert [ANSWER] * 100 == answers

    run(tmp_path, talk)


def test_more_than_there_is_room_for(tmp_path: Path) -> None:
    """Those that wait do not keep others out for longer than their deadline."""

    async def talk(path: str) -> None:
        with ExitStack() as open_ones:
            for _ in range(scrape.MAX_CONNECTIONS):
                connection = open_ones.enter_context(socket.socket(socket.AF_UNIX))
                await asyncio.to_thread(connection.connect, path)
            assert b"" == await exchange(path, GET)
            await until_dropped(connection)
            assert ANSWER == await exchange(path, GET)

    run(tmp_path, talk, seconds=SOON)


def test_metrics_that_fail(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A bug is said to the scraper and to the journal, and the next one is served."""

    async def broken() -> bytes:
        raise ZeroDivisionError

    async def talk(path: str) -> None:
        for _ in range(2):
            answer = await exchange(path, GET)
            assert answer.startswith(b"HTTP/1.1 500 ")

    run(tmp_path, talk, exposition=broken)

    assert [("guardd.scrape", logging.ERROR)] * 2 == [
        (record.name, record.levelno) for record in caplog.records
    ]


def test_idle() -> None:
    """It ends when nobody comes, and lives on while somebody does."""

    async def wait() -> None:
        server = ScrapeServer(up, TYPE, idle_seconds=SOON)
        async with asyncio.timeout(SECONDS):
            await server.until_idle()

    asyncio.run(wait())


@pytest.mark.parametrize(
    ("family", "address", "expected"),
    [
        (socket.AF_INET, "127.0.0.1", True),
        (socket.AF_INET, "127.8.8.8", True),
        (socket.AF_INET, "0.0.0.0", False),  # noqa: S104 (that is the point)
        (socket.AF_INET6, "::1", True),
        (socket.AF_INET6, "::", False),
    ],
)
def test_who_can_reach_it(family: socket.AddressFamily, address: str, *, expected: bool) -> None:
    """There is no password: only programs of this host may ask."""
    try:
        listener = socket.create_server((address, 0), family=family)
    except OSError:
        pytest.skip(f"this machine has no {address}")
    with listener:
        assert expected is is_local(listener)


def test_a_socket_that_others_can_reach(tmp_path: Path) -> None:
    """It is not served, and the error says why."""

    async def listen() -> None:
        with socket.create_server(("0.0.0.0", 0)) as listener:  # noqa: S104 (that is the point)
            await ScrapeServer(up, TYPE).listen(listener)

    with pytest.raises(BadConfig, match=r"not served on 0\.0\.0\.0: .* neither encryption nor"):
        asyncio.run(listen())
    assert [] == list(tmp_path.iterdir())
