"""The socket: the right callers get one reply each, and no caller can hold up the others."""

import asyncio
import json
import logging
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from varlink import Client, VarlinkError

from guardd import server, wire
from guardd.errors import BadRequest
from guardd.server import Callers, Method, Peer, Server, has_left, open_socket, peer_of

NOBODY = 65534
OWN = os.geteuid()
SOME = 60_000  # bytes of a reply: four are more than a unix socket takes, three are not
SECONDS = 20.0  # far more than any of this takes
ROOT_PEER = Peer(pid=1, uid=0, gid=0)
CHECK = {"domain": "web1", "operation": "prepare", "xml": "<domain/>"}
STATUS = {
    "version": "1",
    "mode": "enforce",
    "libvirt_connected": True,
    "snapshot_taken": "",
    "snapshot_origin": "",
    "hypervisors": ["kvm x86_64"],
    "verdicts": {"allow": 2},
    "problems": [],
}

Talk = Callable[[str], Awaitable[None]]


def check(parameters: Mapping[str, Any]) -> bytes:
    """Answer as the daemon does, with nothing to judge by."""
    request = wire.request_from(parameters)
    verdict = {
        "domain": request.domain,
        "uuid": "",
        "operation": request.operation,
        "decision": "allow",
        "refused": False,
        "findings": [],
        "guest_cpu": "",
        "host_cpu": "",
        "source": "",
    }
    line = f"{request.domain} is fine"
    return wire.format_reply({"refused": False, "line": line, "verdict": verdict})


def crash(_parameters: Mapping[str, Any]) -> bytes:
    raise ZeroDivisionError


def long(_parameters: Mapping[str, Any]) -> bytes:
    return wire.format_reply({"text": "x" * (8 << 20)})


METHODS = {
    "Check": Method(check, is_privileged=True),
    "GetStatus": Method(lambda _parameters: wire.format_reply(STATUS), is_privileged=False),
    "Crash": Method(crash, is_privileged=False),
    "Long": Method(long, is_privileged=False),
}


@asynccontextmanager
async def serving(
    path: Path, own_uid: int, methods: Mapping[str, Method], seconds: float = server.PEER_SECONDS
) -> AsyncIterator[str]:
    """Serve *methods* on *path*."""
    listening = Server(methods, own_uid, seconds=seconds).listen(open_socket(str(path)))
    try:
        yield str(path)
    finally:
        listening.close()


def run(
    folder: Path,
    talk: Talk,
    own_uid: int = OWN,
    methods: Mapping[str, Method] = METHODS,
    seconds: float = server.PEER_SECONDS,
) -> None:
    """Have *talk* talk to a server, which must have forgotten every caller in the end."""

    async def main() -> None:
        async with (
            serving(folder / "s", own_uid, methods, seconds) as path,
            asyncio.timeout(SECONDS),
        ):
            await talk(path)
            while others := asyncio.all_tasks() - {asyncio.current_task()}:
                await asyncio.wait(others)

    asyncio.run(main())


async def exchange(path: str, *frames: bytes) -> list[bytes]:
    """Send *frames* and give what comes back until the other end closes, message by message."""
    reader, writer = await asyncio.open_unix_connection(path)
    writer.writelines(frames)
    writer.write_eof()
    replies = await reader.read()
    writer.close()
    await writer.wait_closed()
    return replies.split(b"\0")[:-1]


def call(method: str, parameters: Mapping[str, Any] | None = None, **words: object) -> bytes:
    message = {"method": method, "parameters": parameters or {}, **words}
    return json.dumps(message).encode() + b"\0"


CHECK_CALL = call("io.cpuguardd.Guard.Check", CHECK)


def test_check(tmp_path: Path) -> None:
    """One call, one reply, in the bytes that the hook looks for."""

    async def talk(path: str) -> None:
        (reply,) = await exchange(path, CHECK_CALL)

        assert reply.startswith(b'{"parameters":{"refused":false,"line":"web1 is fine",')

    run(tmp_path, talk)


def test_many_calls_on_one_connection(tmp_path: Path) -> None:
    """Varlink: replies come in the order of the calls."""
    names = [f"web{number}" for number in range(50)]

    async def talk(path: str) -> None:
        calls = [call("io.cpuguardd.Guard.Check", {**CHECK, "domain": name}) for name in names]
        replies = await exchange(path, *calls)

        assert names == [json.loads(r)["parameters"]["verdict"]["domain"] for r in replies]

    run(tmp_path, talk)


def test_a_call_byte_by_byte(tmp_path: Path) -> None:
    """A message may arrive in any pieces."""

    async def talk(path: str) -> None:
        reader, writer = await asyncio.open_unix_connection(path)
        for number in range(len(CHECK_CALL)):
            writer.write(CHECK_CALL[number : number + 1])
            await writer.drain()
            await asyncio.sleep(0)
        reply = await reader.readuntil(b"\0")
        writer.close()
        await writer.wait_closed()

        assert b"web1 is fine" in reply

    run(tmp_path, talk)


@pytest.mark.parametrize(
    ("uid", "own", "expected"),
    [(0, 990, True), (990, 990, True), (1000, 990, False), (NOBODY, 990, False), (1000, 0, False)],
)
def test_who_may_check(uid: int, own: int, *, expected: bool) -> None:
    """Root, as libvirtd's hook is, and the service itself; nobody else learns a verdict."""
    reply = Server(METHODS, own).reply_to(CHECK_CALL[:-1], Peer(pid=1, uid=uid, gid=0))

    assert reply is not None
    assert expected is (b"web1 is fine" in reply)
    assert expected is not (b'"error":"io.cpuguardd.Guard.NotPermitted"' in reply)


@pytest.mark.parametrize("uid", [0, 990, 1000])
def test_who_may_ask_for_the_status(uid: int) -> None:
    """Whoever may connect: the socket's own mode says who that is."""
    frame = call("io.cpuguardd.Guard.GetStatus")[:-1]
    reply = Server(METHODS, 990).reply_to(frame, Peer(pid=1, uid=uid, gid=0))

    assert reply is not None
    assert STATUS == json.loads(reply[:-1])["parameters"]


def run_as_nobody(talk: Callable[[str, int | None], Awaitable[None]]) -> None:
    """Have *talk* talk to a server to which its children, run as the user it gets, are foreign."""

    async def opened(path: str) -> None:
        os.chmod(path, 0o666)  # noqa: PTH101, S103 (a socket of this test)
        await talk(path, NOBODY if OWN == 0 else None)

    # without root nobody else can be played: then it is the server that is another's
    with tempfile.TemporaryDirectory() as folder:  # tmp_path is closed to others
        Path(folder).chmod(0o755)
        run(Path(folder), opened, OWN if OWN == 0 else OWN + 1)


def test_a_foreign_user() -> None:
    """The kernel says who is there, whatever the caller says."""
    program = """
import socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
connection.sendall(sys.argv[2].encode() + b"\\0")
print(connection.recv(1000))
"""

    async def talk(path: str, user: int | None) -> None:
        command = [sys.executable, "-I", "-c", program, path, CHECK_CALL[:-1].decode()]
        said = await asyncio.to_thread(subprocess.check_output, command, user=user)

        assert b"io.cpuguardd.Guard.NotPermitted" in said

    run_as_nobody(talk)


HOLDS_ON = """
import socket, sys
call, held, answers = sys.argv[2].encode() + b"\\0", [], 0
for _ in range(int(sys.argv[3])):
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(sys.argv[1])
    held.append(connection)
    try:
        connection.sendall(call)
        answers += bool(connection.recv(1000))
    except ConnectionError:
        pass
print(answers, flush=True)
sys.stdin.read()
"""


def test_a_foreign_user_who_holds_on() -> None:
    """Gets a few connections and no more; whoever else calls meanwhile is served."""
    status = call("io.cpuguardd.Guard.GetStatus")[:-1].decode()
    command = [sys.executable, "-I", "-c", HOLDS_ON]

    async def talk(path: str, user: int | None) -> None:
        holder = await asyncio.create_subprocess_exec(
            *[*command, path, status, str(server.MAX_OF_A_USER + 5)],
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            user=user,
        )
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert f"{server.MAX_OF_A_USER}\n".encode() == await holder.stdout.readline()
        if OWN == 0:
            (reply,) = await exchange(path, CHECK_CALL)
            assert b"web1 is fine" in reply
        holder.stdin.close()
        await holder.wait()
        again = [*command, path, status, "1"]
        said = await asyncio.to_thread(subprocess.check_output, again, input=b"", user=user)
        assert b"1\n" == said

    run_as_nobody(talk)


def test_callers() -> None:
    """Users have few connections each, and few together; root and the service have the rest."""
    callers = Callers({0, 990})
    many = range(1000, 1100)

    assert [True] * 16 + [False] == [callers.admit(1000) for _ in range(17)]
    assert 256 - 16 == sum(callers.admit(uid) for uid in many[1:] for _ in range(4))
    assert not callers.admit(2000)
    assert [True] * 4096 + [False] == [callers.admit(uid) for uid in [0, 990] * 2048 + [0]]
    callers.leave(1000)
    callers.leave(990)
    assert [True, False] == [callers.admit(1000), callers.admit(1000)]
    assert [True, False] == [callers.admit(0), callers.admit(0)]


def test_in_turns(tmp_path: Path) -> None:
    """One who sends a thousand calls at once holds up nobody."""
    order: list[str] = []

    def remember(parameters: Mapping[str, Any]) -> bytes:
        order.append(parameters["domain"])
        return wire.format_reply({})

    async def talk(path: str) -> None:
        many, one = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
        for connection, name, calls in ((many, "many", 1000), (one, "one", 1)):
            connection.connect(path)
            connection.sendall(call("io.cpuguardd.Guard.Check", {"domain": name}) * calls)
        await asyncio.to_thread(one.recv, 1000)
        for connection in (many, one):
            connection.shutdown(socket.SHUT_WR)
            while await asyncio.to_thread(connection.recv, 1 << 16):
                pass
            connection.close()

    run(tmp_path, talk, methods={"Check": Method(remember, is_privileged=True)})

    assert order.index("one") < 10 < len(order) == 1001


def test_one_who_takes_no_reply(tmp_path: Path) -> None:
    """Its connection is closed in the end, even if it has said all that it has to say."""
    answers, is_answered = iter(range(1, 5)), asyncio.Event()

    def some(_parameters: Mapping[str, Any]) -> bytes:
        if next(answers) == 4:
            is_answered.set()
        return wire.format_reply({"text": "x" * SOME})

    async def talk(path: str) -> None:
        with socket.socket(socket.AF_UNIX) as silent:
            silent.connect(path)
            silent.sendall(call("io.cpuguardd.Guard.Some") * 4)
            silent.shutdown(socket.SHUT_WR)
            await is_answered.wait()
            while others := asyncio.all_tasks() - {asyncio.current_task()}:
                await asyncio.wait(others)
            taken = 0
            while part := await asyncio.to_thread(silent.recv, 1 << 16):
                taken += len(part)

            assert 0 < taken < 4 * SOME

    methods = {"Some": Method(some, is_privileged=False)}
    run(tmp_path, talk, methods=methods, seconds=0.2)


def test_peer_of() -> None:
    """Process, user and group of the other end."""
    one, other = socket.socketpair()
    with one, other:
        assert Peer(os.getpid(), OWN, os.getegid()) == peer_of(one)


def test_has_left() -> None:
    """Closed is not the same as done with writing."""
    one, other = socket.socketpair()
    with one, other:
        assert not has_left(one)
        other.sendall(b"x")
        other.shutdown(socket.SHUT_WR)
        assert not has_left(one)
        other.close()
        assert has_left(one)


def test_introspection(tmp_path: Path) -> None:
    """The Varlink project's own client finds its way and agrees on every type."""

    def introspect(path: str) -> None:
        with Client(address=f"unix:{path}") as client:
            assert ["org.varlink.service", "io.cpuguardd.Guard"] == client.get_interfaces()
            with client.open("org.varlink.service") as service:
                info = service.GetInfo()
                assert ("cpu-guardd", "cpu-guardd") == (info["vendor"], info["product"])
                described = service.GetInterfaceDescription("org.varlink.service")
                assert wire.SERVICE_DESCRIPTION == described["description"]
            with client.open("io.cpuguardd.Guard") as guard:
                assert STATUS == guard.GetStatus()
                reply = guard.Check(**CHECK)
                assert (False, "web1 is fine") == (reply["refused"], reply["line"])
                assert wire.parse_reply(check(CHECK)[:-1])["verdict"] == reply["verdict"]
                with pytest.raises(VarlinkError) as caught:
                    guard.Check(domain="a", operation="start", xml="")
                assert "io.cpuguardd.Guard.BadRequest" == caught.value.error()

    async def talk(path: str) -> None:
        await asyncio.to_thread(introspect, path)

    run(tmp_path, talk)


@pytest.mark.parametrize(
    ("frame", "error", "parameters"),
    [
        (b"hello", "io.cpuguardd.Guard.BadRequest", None),
        (b"", "io.cpuguardd.Guard.BadRequest", None),
        (b"\xff" * 100, "io.cpuguardd.Guard.BadRequest", None),
        (
            call("io.cpuguardd.Guard.Check", {"domain": 7})[:-1],
            "io.cpuguardd.Guard.BadRequest",
            {"reason": "parameter 'domain' must be a string"},
        ),
        (
            call("io.cpuguardd.Guard.Frob")[:-1],
            "org.varlink.service.MethodNotFound",
            {"method": "io.cpuguardd.Guard.Frob"},
        ),
        (
            call("org.example.Other.Check")[:-1],
            "org.varlink.service.InterfaceNotFound",
            {"interface": "org.example.Other"},
        ),
        (call("Check")[:-1], "org.varlink.service.InterfaceNotFound", {"interface": ""}),
        (
            call("org.varlink.service.Frob")[:-1],
            "org.varlink.service.InterfaceNotFound",
            None,
        ),
        (
            call("org.varlink.service.GetInterfaceDescription", {"interface": "a.b"})[:-1],
            "org.varlink.service.InterfaceNotFound",
            {"interface": "a.b"},
        ),
        (
            call("org.varlink.service.GetInterfaceDescription")[:-1],
            "org.varlink.service.InvalidParameter",
            {"parameter": "interface"},
        ),
    ],
)
def test_errors(frame: bytes, error: str, parameters: dict[str, str] | None) -> None:
    """Errors of the protocol have the protocol's names."""
    reply = Server(METHODS, OWN).reply_to(frame, ROOT_PEER)

    assert reply is not None
    assert reply.endswith(b"\0")
    message = json.loads(reply[:-1])
    assert error == message["error"]
    assert parameters in (None, message["parameters"])


def test_a_bug_is_an_error_reply(caplog: pytest.LogCaptureFixture) -> None:
    """The hook goes on by itself then; the traceback is in the journal."""
    reply = Server(METHODS, OWN).reply_to(call("io.cpuguardd.Guard.Crash")[:-1], ROOT_PEER)

    assert b'{"error":"io.cpuguardd.Guard.Internal","parameters":{}}\0' == reply
    assert [("guardd.server", logging.ERROR)] == [
        (record.name, record.levelno) for record in caplog.records
    ]


def test_oneway(tmp_path: Path) -> None:
    """Varlink: a caller that wants no reply gets none, and the next call gets its own."""

    async def talk(path: str) -> None:
        oneway = call("io.cpuguardd.Guard.Check", CHECK, oneway=True)
        status = call("io.cpuguardd.Guard.GetStatus")
        replies = await exchange(path, oneway, status, oneway)

        assert [{"parameters": STATUS}] == [json.loads(reply) for reply in replies]

    run(tmp_path, talk)


def test_garbage_does_not_end_a_connection(tmp_path: Path) -> None:
    """Each message is one for itself."""

    async def talk(path: str) -> None:
        bad, good = await exchange(path, b"garbage\0", CHECK_CALL)

        assert b"BadRequest" in bad
        assert b"web1 is fine" in good

    run(tmp_path, talk)


@pytest.mark.parametrize("sent", [b"", b"{", CHECK_CALL[:-1]], ids=["nothing", "a byte", "no NUL"])
def test_half_a_message(sent: bytes, tmp_path: Path) -> None:
    """A caller that dies is forgotten: no reply, and the server lives on."""

    async def talk(path: str) -> None:
        assert [] == await exchange(path, sent)
        (reply,) = await exchange(path, CHECK_CALL)
        assert b"web1 is fine" in reply

    run(tmp_path, talk)


def test_a_caller_that_resets(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Closing with a reply unread is an error to the kernel, and none to the server."""

    async def talk(path: str) -> None:
        for _ in range(20):
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(path)
            connection.sendall(CHECK_CALL * 20)
            await asyncio.sleep(0)
            connection.close()
        (reply,) = await exchange(path, CHECK_CALL)
        assert b"web1 is fine" in reply

    run(tmp_path, talk)

    assert [] == caplog.messages


def ask(path: str, frame: bytes) -> bytes:
    """Send *frame* and give the first reply, as far as either goes; waits like any program."""
    reply = b""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(SECONDS)
        connection.connect(path)
        with suppress(ConnectionError):  # the other end need not read all of it
            connection.sendall(frame)
        while not reply.endswith(b"\0"):
            reply += connection.recv(65536) or b"\0"
    return reply


def test_a_caller_that_left(tmp_path: Path) -> None:
    """Its hook has judged by itself: a second verdict in the journal would only confuse."""
    judged: list[str] = []

    def remember(parameters: Mapping[str, Any]) -> bytes:
        judged.append(parameters["domain"])
        return check(parameters)

    async def talk(path: str) -> None:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(path)
            connection.sendall(CHECK_CALL)
        await exchange(path, call("io.cpuguardd.Guard.Check", {**CHECK, "domain": "web2"}))

    missed: list[str] = []
    method = Method(remember, is_privileged=True, missed=lambda call: missed.append(call["domain"]))
    run(tmp_path, talk, methods={"Check": method})

    assert (["web2"], [CHECK["domain"]]) == (judged, missed)


@pytest.mark.parametrize(
    ("frame", "uid"),
    [
        (b"{", 0),
        (b'{"method":"io.cpuguardd.Guard.Nothing"}', 0),
        (b'{"method":"org.varlink.service.GetInfo"}', 0),
        (CHECK_CALL[:-1], 12345),
    ],
)
def test_nothing_to_note(frame: bytes, uid: int) -> None:
    """What is no call, or nobody's business, is not noted; nor does it do any harm."""
    missed: list[Mapping[str, Any]] = []
    server = Server({"Check": Method(check, is_privileged=True, missed=missed.append)}, 0)
    server.note_missed(frame, Peer(1, uid, uid))

    assert [] == missed


def test_an_oversize_message(tmp_path: Path) -> None:
    """It is said, and what is over the limit is not kept in memory."""

    async def talk(path: str) -> None:
        reply = await asyncio.to_thread(ask, path, b" " * (3 * wire.MAX_FRAME))

        assert f"message exceeds {wire.MAX_FRAME} bytes".encode() in reply

    run(tmp_path, talk)


def test_two_hundred_at_once(tmp_path: Path) -> None:
    """A host that boots starts all its guests together."""
    names = [f"web{number}" for number in range(200)]
    xml = "<domain>" + "x" * 50_000 + "</domain>"
    frames = [
        call("io.cpuguardd.Guard.Check", {**CHECK, "domain": name, "xml": xml}) for name in names
    ]

    async def talk(path: str) -> None:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(len(frames)) as pool:
            asked = [loop.run_in_executor(pool, ask, path, frame) for frame in frames]
            replies = await asyncio.gather(*asked)

        assert names == [json.loads(r[:-1])["parameters"]["verdict"]["domain"] for r in replies]

    run(tmp_path, talk)


def test_idle_callers_do_not_hold_up_others(tmp_path: Path) -> None:
    """One hundred that say nothing, one hundred in the middle of a message: the next is served."""

    async def talk(path: str) -> None:
        idle = [await asyncio.open_unix_connection(path) for _ in range(200)]
        for _, writer in idle[:100]:
            writer.write(CHECK_CALL[:20])
        (reply,) = await exchange(path, CHECK_CALL)
        for _, writer in idle:
            writer.close()

        assert b"web1 is fine" in reply

    run(tmp_path, talk)


def test_a_slow_caller_is_dropped(tmp_path: Path) -> None:
    """A message must be whole within its time; what came of it so far does not buy more."""

    async def talk(path: str) -> None:
        clock = asyncio.get_running_loop().time
        reader, writer = await asyncio.open_unix_connection(path)
        start = clock()
        closed = asyncio.create_task(reader.read())
        for number in range(len(CHECK_CALL)):
            if closed.done():
                break
            writer.write(CHECK_CALL[number : number + 1])
            await asyncio.wait([closed], timeout=0.2)
        writer.close()

        assert b"" == await closed
        assert server.PEER_SECONDS <= clock() - start < server.PEER_SECONDS + SECONDS / 2

    run(tmp_path, talk)


def test_the_socket_is_not_open_to_all(tmp_path: Path) -> None:
    """Without systemd nobody but the owner may connect, whatever else may be tried."""
    before = os.umask(0o022)
    try:
        with open_socket(str(tmp_path / "s")) as listener:
            mode = (tmp_path / "s").stat().st_mode
            assert 0 == mode & 0o022
            assert listener.getsockname() == str(tmp_path / "s")
    finally:
        os.umask(before)


def test_request_errors_are_ours() -> None:
    """The daemon's Check raises this for wrong parameters, and the server makes it a reply."""
    with pytest.raises(BadRequest):
        check({})
