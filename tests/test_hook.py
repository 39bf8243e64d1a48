"""The hook, run as libvirt runs it: whatever is broken around it, libvirt gets its answer."""

import json
import os
import re
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from guardd import fallback, files, wire
from guardd.journal import Kind
from guardd.journal.reader import in_ascii
from guardd.judge.finding import Operation
from guardd.server import has_left
from tests.hooked import (
    ENVIRONMENT,
    SECONDS,
    SOURCE,
    Hook,
    Outcome,
    answering,
    constant,
    plainly_built,
    read_frame,
)
from tests.recordings import ROOT

ALLOWED = wire.format_reply({"refused": False, "line": "cpu-guardd: web1 fits", "verdict": {}})
LINE = "cpu-guardd[missing-feature]: web1 needs avx; this host lacks it; see: cpu-guardctl"
REFUSED = wire.format_reply({"refused": True, "line": LINE, "verdict": {}})
UNJUDGED = Outcome(0, "", "", 0.0)
DENIED = (
    "cpu-guardd[unavailable]: web1 refused: neither the daemon nor the hook itself could judge"
    " it; see: systemctl status cpu-guardd\n"
)
PATIENCE = 0.3  # in place of the hook's own, to be done sooner
SOON = 2.0  # for all of the hook, on a busy machine, but for what it waits for

Talk = Callable[[socket.socket], None]


@pytest.fixture
def hook(tmp_path: Path) -> Hook:
    return Hook(tmp_path)


def reply(*parts: bytes) -> Talk:
    """Read the call, then send *parts*, each by itself."""

    def talk(connection: socket.socket) -> None:
        read_frame(connection)
        for part in parts:
            connection.sendall(part)
            time.sleep(0.01)

    return talk


def hang(*parts: bytes) -> Talk:
    """Read the call, send *parts*, then wait until the hook has gone."""

    def talk(connection: socket.socket) -> None:
        read_frame(connection)
        for part in parts:
            connection.sendall(part)
        connection.recv(1)

    return talk


def drip(connection: socket.socket) -> None:
    """Send a reply that never ends, a byte at a time."""
    read_frame(connection)
    connection.sendall(b'{"x":"')
    while True:
        connection.sendall(b"x")
        time.sleep(0.05)


def deaf(connection: socket.socket) -> None:
    """Accept, and read nothing until the hook has gone."""
    while not has_left(connection):
        time.sleep(0.01)


def test_constants_agree_with_the_daemon() -> None:
    """The hook imports none of our modules, and must mean the same things."""
    assert wire.SOCKET_PATH == constant("SOCKET")
    assert str(files.STATE_DIRECTORY / files.ON_UNAVAILABLE) == constant("ON_UNAVAILABLE")
    gated = SOURCE.partition("bool is_gated(")[2].partition("}")[0]
    assert set(Operation) == set(re.findall(r'words\[2\], "(.*?)"', gated))
    assert str(fallback.REFUSED) == constant("FALLBACK_REFUSES")
    assert ALLOWED.startswith(constant("ALLOWED").encode())
    assert REFUSED.startswith(constant("REFUSED").encode())
    assert f'"{wire.INTERFACE}.Check"' in constant("CALL")
    assert Kind.UNAVAILABLE in SOURCE


def test_allowed(hook: Hook) -> None:
    """Not a word on either stream: on stdout it would replace the domain's XML."""
    with answering(hook.socket, reply(ALLOWED)):
        assert Outcome(0, "", "", 0.0) == hook.run()


def test_refused(hook: Hook) -> None:
    """One line on stderr, which libvirt shows to the person who tried."""
    with answering(hook.socket, reply(REFUSED)):
        assert Outcome(1, "", LINE + "\n", 0.0) == hook.run()


def test_a_restore_is_refused_at_its_prepare(hook: Hook) -> None:
    """The daemon is asked, to know that it arrives; but libvirt would lose a managed save."""
    with answering(hook.socket, reply(REFUSED)):
        assert 0 == hook.run("web1", "restore", "begin", "-").status
    with answering(hook.socket, reply(REFUSED)):
        assert 1 == hook.run("web1", "prepare", "begin", "-").status


@pytest.mark.parametrize("operation", ["prepare", "migrate", "restore"])
def test_the_call(operation: str, hook: Hook) -> None:
    """What the daemon gets: a well-formed call with name, operation and XML."""
    frames: list[bytes] = []

    def talk(connection: socket.socket) -> None:
        frames.append(read_frame(connection))
        connection.sendall(ALLOWED)

    with answering(hook.socket, talk):
        hook.run("büro 1", operation, "begin", "-", xml='<domain>é\n"\\</domain>'.encode())

    (frame,) = frames
    called = wire.parse_call(frame.removesuffix(b"\0"))
    request = wire.request_from(called.parameters)
    assert "io.cpuguardd.Guard.Check" == called.method
    assert ("büro 1", operation) == (request.domain, request.operation)
    assert '<domain>é\n"\\</domain>' == request.xml


def script(folder: Path, text: str) -> str:
    """Write a program to stand in the place of guardd.fallback."""
    path = folder / "alone"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return "./alone"


def real_fallback(folder: Path) -> str:
    """Have the project's own program, of this tree, in that place."""
    return script(folder, f'PYTHONPATH={ROOT} exec {sys.executable} -m guardd.fallback "$@"')


@pytest.mark.parametrize(
    "talk",
    [
        pytest.param(reply(ALLOWED[:7], ALLOWED[7:]), id="in two pieces"),
        pytest.param(reply(*(ALLOWED[i : i + 1] for i in range(len(ALLOWED)))), id="in bytes"),
        pytest.param(hang(ALLOWED[:40]), id="the rest of it does not matter"),
        pytest.param(reply(b'{ "parameters": {"line": "", "refused": false} }\0'), id="spelled so"),
    ],
)
def test_allowed_in_other_ways(talk: Talk, hook: Hook) -> None:
    """A daemon of another version may write its JSON in another way."""
    hook.on_unavailable.write_text("deny")
    path = hook.install(fallback=real_fallback(hook.folder))
    with answering(hook.socket, talk):
        outcome = hook.run(path=path)

    assert Outcome(0, "", "", 0.0) == outcome
    assert outcome.seconds < SOON


@pytest.mark.parametrize(
    "talk",
    [
        pytest.param(reply(REFUSED[:7], REFUSED[7:]), id="in two pieces"),
        pytest.param(
            reply(json.dumps({"parameters": {"line": LINE, "refused": True}}).encode() + b"\0"),
            id="spelled in another way",
        ),
        pytest.param(
            reply(
                wire.format_reply(
                    {"refused": True, "line": LINE, "verdict": {"source": "x" * 500_000}}
                )
            ),
            id="long",
        ),
    ],
)
def test_refused_in_other_ways(talk: Talk, hook: Hook) -> None:
    """The same for a refusal."""
    path = hook.install(fallback=real_fallback(hook.folder))
    with answering(hook.socket, talk):
        assert Outcome(1, "", LINE + "\n", 0.0) == hook.run(path=path)


LINES = [
    'a "quoted" \\ word',
    "büro 🐧 \u2028",
    "\x7f",
    "",
]


@pytest.mark.parametrize("line", LINES)
def test_lines(line: str, hook: Hook) -> None:
    """A refusal's line arrives as it was written, and without the fallback's help."""
    with answering(hook.socket, reply(wire.format_reply({"refused": True, "line": line}))):
        assert Outcome(1, "", f"{line}\n", 0.0) == hook.run()


STRANGE = {
    "a lone surrogate": b"\\udc80",
    "half a pair": b"\\ud83dx",
    "a pair of two halves": b"\\ud83d\\ud83d",
    "a control character": b"\\u001b[31m",
    "capital digits": b"\\u00E9",
    "no digits": b"\\u00",
    "another escape": b"\\n",
    "no ASCII": "é".encode(),
    "a raw control character": b"\x1b[31m",
    "no end": b"a line \\",
}


@pytest.mark.parametrize("name", STRANGE)
def test_strange_lines(name: str, hook: Hook) -> None:
    """What the daemon would not write is left to the fallback: no byte of it is printed here."""
    text = b'{"parameters":{"refused":true,"line":"' + STRANGE[name]
    with answering(hook.socket, reply(text + b'"}}\0')):
        assert UNJUDGED == hook.run()
    with answering(hook.socket, reply(text + b"\0")):
        assert UNJUDGED == hook.run()


BROKEN: dict[str, Talk] = {
    "closes at once": lambda _connection: None,
    "reads and closes": reply(),
    "half a reply": reply(REFUSED[:30]),
    "half an allowed reply": reply(ALLOWED[:20]),
    "a reply without its NUL": reply(REFUSED[:-1]),
    "garbage": reply(b"garbage\0"),
    "bytes": reply(b"\xff\xfe\xfd\0"),
    "an error": reply(wire.format_error("io.cpuguardd.Guard.NotPermitted")),
    "no verdict": reply(b'{"parameters":{}}\0'),
    "a list": reply(b'{"parameters":[]}\0'),
    "a number": reply(b"7\0"),
    "a line that is no text": reply(b'{"parameters":{"refused":true,"line":7}}\0'),
    "no line": reply(b'{"parameters":{"refused":true}}\0'),
    "nested too deeply": reply(b"[" * 100_000 + b"\0"),
    "too much": reply(b"x" * (3 << 20)),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_daemon(name: str, hook: Hook) -> None:
    """It is no verdict: the guest starts, unless the administrator said otherwise."""
    hook.install()
    with answering(hook.socket, BROKEN[name]):
        allowed = hook.run()
        hook.on_unavailable.write_text("deny\n")
        denied = hook.run()

    assert (UNJUDGED, Outcome(1, "", DENIED, 0.0)) == (allowed, denied)
    assert max(allowed.seconds, denied.seconds) < SOON


@pytest.mark.parametrize(
    "talk",
    [
        pytest.param(hang(), id="silent"),
        pytest.param(hang(REFUSED[:30]), id="after half a reply"),
        pytest.param(drip, id="dripping"),
        pytest.param(deaf, id="deaf"),
    ],
)
@pytest.mark.parametrize("size", [10, 4 << 20], ids=["short XML", "long XML"])
def test_a_daemon_that_hangs(talk: Talk, size: int, hook: Hook) -> None:
    """libvirt sets no time limit: the hook does."""
    path = hook.install(DAEMON_SECONDS=PATIENCE)
    with answering(hook.socket, talk):
        outcome = hook.run(xml=b"<" + b"x" * size, path=path)

    assert UNJUDGED == outcome
    assert PATIENCE <= outcome.seconds < PATIENCE + SOON


def no_socket(_path: Path) -> None:
    """Leave the place of the socket empty."""


def dead_socket(path: Path) -> None:
    """Leave a socket behind that nobody listens on, as a daemon that was killed does."""
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))


@pytest.mark.parametrize("prepare", [no_socket, dead_socket, Path.touch, Path.mkdir])
def test_no_daemon(prepare: Callable[[Path], object], hook: Hook) -> None:
    """At once: nobody is waited for."""
    prepare(hook.socket)
    outcome = hook.run()

    assert UNJUDGED == outcome
    assert outcome.seconds < SOON


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("deny\n", 1),
        ("deny", 1),
        (" deny \n", 1),
        ("allow\n", 0),
        ("", 0),
        ("DENY", 0),
        ("deny them all", 0),
        ("\0" * 100, 0),
        ("\udcff", 0),
    ],
)
def test_the_last_resort(word: str, expected: int, hook: Hook) -> None:
    """One word that the daemon wrote; anything else is the default, to allow."""
    hook.on_unavailable.write_bytes(word.encode(errors="surrogateescape"))

    assert Outcome(expected, "", DENIED if expected else "", 0.0) == hook.run()


def test_the_word_file_may_be_anything(hook: Hook) -> None:
    """A folder in its place is no reason to fail."""
    hook.on_unavailable.mkdir()

    assert UNJUDGED == hook.run()


@pytest.mark.parametrize(
    ("word", "message", "refused"),
    [
        ("allow", "cpu-guardd[unavailable]: web1 allowed unjudged: neither the daemon", "no"),
        ("deny", "cpu-guardd[unavailable]: web1 refused: neither the daemon", "yes"),
    ],
)
def test_the_last_resort_is_in_the_journal(
    word: str, message: str, refused: str, hook: Hook
) -> None:
    """A guest that nobody judged leaves a trace: stderr of an allowed start is lost."""
    hook.on_unavailable.write_text(word)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
        journald.bind(str(hook.journal))
        journald.settimeout(SECONDS)
        hook.run()
        record = journald.recv(65536).decode()

    fields = dict(line.split("=", 1) for line in record.splitlines())
    assert fields.pop("MESSAGE").startswith(message)
    assert {
        "MESSAGE_ID": Kind.UNAVAILABLE,
        "PRIORITY": "3",
        "SYSLOG_IDENTIFIER": "cpu-guardd",
        "GUARDD_DOMAIN": "web1",
        "GUARDD_OPERATION": "prepare",
        "GUARDD_DECISION": "unavailable",
        "GUARDD_REFUSED": refused,
    } == fields


def test_a_journal_that_does_not_read(hook: Hook) -> None:
    """It costs its time, and no more."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
        journald.bind(str(hook.journal))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as writer:
            writer.settimeout(0)
            with suppress(BlockingIOError):
                while writer.sendto(b"x", str(hook.journal)):
                    pass
        outcome = hook.run(path=hook.install(DAEMON_SECONDS=PATIENCE))

    assert UNJUDGED == outcome
    assert outcome.seconds < PATIENCE + SOON


NASTY_NAMES: list[str | bytes] = [
    "a\nMESSAGE=forged\nb",
    "a\x1b[31mb",
    "büro 🐧",
    b"a\xffb",
    "%s{guest}",
    "'\"\\",
    "x" * 4000,
]


@pytest.mark.parametrize("name", NASTY_NAMES)
def test_names(name: str | bytes, hook: Hook) -> None:
    """A name reaches the daemon as it is, and a terminal or the journal as one harmless line."""
    frames: list[bytes] = []

    def talk(connection: socket.socket) -> None:
        frames.append(read_frame(connection))

    hook.on_unavailable.write_text("deny")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
        journald.bind(str(hook.journal))
        journald.settimeout(SECONDS)
        with answering(hook.socket, talk):
            outcome = hook.run(name, "prepare", "begin", "-")
        record = journald.recv(65536).decode()

    domain = wire.parse_call(frames[0].removesuffix(b"\0")).parameters["domain"]
    assert os.fsencode(name) == domain.encode("utf-8", "surrogateescape")
    assert outcome.stderr.removesuffix("\n").isprintable()
    assert outcome.stderr.endswith("; see: systemctl status cpu-guardd\n")
    assert 8 == len(record.splitlines())
    assert f"GUARDD_DOMAIN={in_ascii(os.fsdecode(name))}" in record.splitlines()


def test_xml_that_is_not_utf8(hook: Hook) -> None:
    """The daemon sees which byte it was, and says that the guest cannot be read."""
    frames: list[bytes] = []

    def talk(connection: socket.socket) -> None:
        frames.append(read_frame(connection))
        connection.sendall(ALLOWED)

    with answering(hook.socket, talk):
        assert UNJUDGED == hook.run(xml=b"<domain>\xff\xfe\0</domain>")

    xml = wire.parse_call(frames[0].removesuffix(b"\0")).parameters["xml"]
    assert "<domain>\udcff\udcfe\0</domain>" == xml


def test_a_long_xml(hook: Hook) -> None:
    """Large guests have hundreds of kB; ten megabytes still are in time."""
    sizes: list[int] = []

    def talk(connection: socket.socket) -> None:
        sizes.append(len(read_frame(connection)))
        connection.sendall(ALLOWED)

    with answering(hook.socket, talk):
        outcome = hook.run(xml=b"<domain>" + b"x" * 10_000_000 + b"</domain>")

    assert UNJUDGED == outcome
    assert sizes[0] > 10_000_000
    assert outcome.seconds < SOON


UNGATED = [
    ("web1", "reconnect", "begin", "-"),
    ("web1", "start", "begin", "-"),
    ("web1", "started", "begin", "-"),
    ("web1", "stopped", "end", "-"),
    ("web1", "release", "end", "-"),
    ("web1", "attach", "begin", "-"),
    ("web1", "prepare", "end", "-"),
    ("web1", "quantum", "begin", "-"),
    ("web1", "", "", ""),
    ("web1", "prepare"),
    ("web1",),
    (),
]


@pytest.mark.parametrize("arguments", UNGATED, ids=" ".join)
def test_what_cannot_be_refused_is_not_asked(arguments: tuple[str, ...], hook: Hook) -> None:
    """A failing "reconnect" would kill a running guest: exit 0 without even reading stdin."""
    hook.on_unavailable.write_text("deny")
    path = hook.install(fallback="/nonexistent")
    with answering(hook.socket, reply(REFUSED)) as made:
        program = subprocess.Popen(
            [path, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=ENVIRONMENT,
            cwd="/",
        )
        with program:
            assert 0 == program.wait(SECONDS)  # while its stdin is open
            assert program.stdout is not None
            assert program.stderr is not None
            assert (b"", b"") == (program.stdout.read(), program.stderr.read())

    assert made.empty()


def test_a_users_own_libvirt(hook: Hook) -> None:
    """qemu:///session runs the same hook; that user may not ask, and his guests must start."""
    path = hook.install(ROOT_UID=os.geteuid() + 1)
    hook.on_unavailable.write_text("deny")
    with answering(hook.socket, reply(REFUSED)) as made:
        assert UNJUDGED == hook.run(path=path)

    assert made.empty()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("exit 0", Outcome(0, "", "", 0.0), id="allows"),
        pytest.param("echo out; echo why >&2; exit 20", Outcome(1, "", "why\n", 0.0), id="refuses"),
        pytest.param("echo noise >&2; exit 0", Outcome(0, "", "", 0.0), id="says something"),
        pytest.param("exit 1", Outcome(1, "", DENIED, 0.0), id="fails"),
        pytest.param("exit 69", Outcome(1, "", DENIED, 0.0), id="cannot judge"),
        pytest.param("kill -9 $$", Outcome(1, "", DENIED, 0.0), id="is killed"),
        pytest.param("exec sleep 60", Outcome(1, "", DENIED, 0.0), id="hangs"),
    ],
)
def test_judging_alone(text: str, expected: Outcome, hook: Hook) -> None:
    """Nobody answers: a process of its own judges, and can be given up."""
    hook.on_unavailable.write_text("deny")
    path = hook.install(fallback=script(hook.folder, text), FALLBACK_SECONDS=0.5)

    outcome = hook.run(path=path)

    assert expected == outcome
    assert outcome.seconds < SOON


def test_what_judging_alone_is_given(hook: Hook) -> None:
    """Name and operation as arguments, the XML on stdin, byte by byte."""
    folder = hook.folder
    program = script(folder, f'printf "%s|" "$@" > {folder}/words; cat > {folder}/xml')
    xml = b"<domain>\xff\0</domain>"

    outcome = hook.run("a b", "migrate", "begin", "-", xml=xml, path=hook.install(fallback=program))

    assert 0 == outcome.status
    assert "a b|migrate|" == (folder / "words").read_text()
    assert b"\0" + xml == (folder / "xml").read_bytes()


@pytest.mark.parametrize(("operation", "status"), [("prepare", 1), ("restore", 0)])
def test_no_memory(operation: str, status: int, hook: Hook) -> None:
    """It is the last resort's, and never refuses a restore: libvirt would lose a managed save."""
    hook.on_unavailable.write_text("deny")
    limited = ["prlimit", f"--as={64 << 20}", str(plainly_built()), "web1", operation, "begin", "-"]
    done = subprocess.run(
        limited, input=b"x" * (64 << 20), cwd=hook.folder, capture_output=True, check=False
    )

    assert (status, b"") == (done.returncode, done.stdout)


def test_a_missing_interpreter(hook: Hook) -> None:
    """Half an upgrade: what cannot be run at all is no verdict either."""
    path = hook.install(fallback="/nonexistent")

    assert UNJUDGED == hook.run(path=path)


def test_all_of_it_hangs(hook: Hook) -> None:
    """Daemon and fallback: the sum of the deadlines, and then libvirt goes on."""
    path = hook.install(
        fallback=script(hook.folder, "exec sleep 60"),
        DAEMON_SECONDS=PATIENCE,
        FALLBACK_SECONDS=0.5,
    )
    with answering(hook.socket, hang()):
        outcome = hook.run(path=path)

    assert UNJUDGED == outcome
    assert outcome.seconds < PATIENCE + 0.5 + SOON


def test_deadlines() -> None:
    """While a hook runs libvirt answers no `virsh list`: five seconds are the most there is."""
    assert ("1.0", "4.0") == (constant("DAEMON_SECONDS"), constant("FALLBACK_SECONDS"))
