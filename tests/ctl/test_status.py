"""cpu-guardctl status and explain, and the program as a whole: help, version, completion."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from guardd.ctl.main import COMMANDS
from tests.ctl.commands import run

ANSWER = {
    "version": "0.1.0",
    "mode": "enforce",
    "libvirt_connected": True,
    "snapshot_taken": "2026-11-22T21:00:00Z",
    "snapshot_origin": "libvirt",
    "hypervisors": ["kvm x86_64 pc-1 /nowhere/qemu"],
    "verdicts": {"allow": 3, "deny": 1},
    "events": {"unasked": 1, "stamped": 2},
    "problems": ["configuration was not kept: no space"],
}


@contextmanager
def daemon(path: Path, reply: bytes) -> Iterator[None]:
    """Answer one call on *path* with *reply*."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            while not connection.recv(65536).endswith(b"\0"):
                pass
            connection.sendall(reply)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join(10)


def frame(document: object) -> bytes:
    """Give a Varlink message."""
    return json.dumps(document).encode() + b"\0"


def test_status(tmp_path: Path) -> None:
    """What the daemon says, a line each, and the hook."""
    path = tmp_path / "guard.sock"
    with daemon(path, frame({"parameters": ANSWER})):
        done = run("status", "--socket", path)

    assert (0, "") == (done.status, done.err)
    assert [
        "Daemon:    cpu-guardd 0.1.0, mode enforce",
        "libvirt:   connected",
        "Host:      libvirt snapshot of 2026-11-22T21:00:00Z",
        "Knows:     kvm x86_64 pc-1 /nowhere/qemu",
        "Verdicts:  3 allow, 1 deny",
        "Noticed:   2 stamped, 1 unasked",
        "Problem:   configuration was not kept: no space",
    ] == done.out.splitlines()[:7]


def test_status_json(tmp_path: Path) -> None:
    """The same for programs."""
    path = tmp_path / "guard.sock"
    with daemon(path, frame({"parameters": ANSWER})):
        done = run("status", "--json", "--socket", path)

    assert ANSWER == {key: value for key, value in done.json.items() if key != "hooks"}


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (b"", 3),
        (b"{", 3),
        (b"not JSON\0", 3),
        (frame({"error": "io.cpuguardd.Guard.NotPermitted", "parameters": {}}), 3),
    ],
)
def test_bad_reply(tmp_path: Path, reply: bytes, status: int) -> None:
    """Somebody else on the socket, or a daemon that dies."""
    path = tmp_path / "guard.sock"
    with daemon(path, reply):
        done = run("status", "--socket", path)

    assert (status, "") == (done.status, done.out)
    assert done.err.startswith("error: ")


def test_no_daemon(tmp_path: Path) -> None:
    """An exit status of its own, for monitoring."""
    done = run("status", "--socket", tmp_path / "missing.sock")

    assert (69, True) == (done.status, "hint: see: systemctl status cpu-guardd" in done.err)


def test_explain_nothing() -> None:
    """No such guest was ever judged."""
    done = run("explain", "no-guest-of-this-name-was-ever-judged")

    assert (3, "") == (done.status, done.out)
    assert "error: no verdict on 'no-guest-of-this-name-was-ever-judged'" in done.err


@pytest.mark.parametrize("name", COMMANDS)
def test_help(name: str) -> None:
    """Each tells its own, under both names of the option."""
    done = run(name, "--help")

    assert 0 == done.status
    assert done.out.startswith(f"Usage: cpu-guardctl {name} ")
    assert done.out == run(name, "-h").out


def test_completion() -> None:
    """As the manual says: the shell asks the program itself."""
    code = "from guardd.ctl.main import main; main(prog_name='cpu-guardctl')"
    words = {"_CPU_GUARDCTL_COMPLETE": "bash_complete", "COMP_WORDS": "cpu-guardctl b"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **words, "COMP_CWORD": "1"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )

    assert "plain,baseline\n" == done.stdout


GARBAGE = [
    {},
    dict.fromkeys(ANSWER),
    dict.fromkeys(ANSWER, 7),
    dict.fromkeys(ANSWER, "\x1b[2J\n"),
    {key: [[]] for key in ANSWER},
    {**ANSWER, "verdicts": {"allow": {}}, "problems": [7, None], "hypervisors": [{}]},
]


@pytest.mark.parametrize("answer", GARBAGE, ids=lambda answer: json.dumps(answer)[:40])
@pytest.mark.parametrize("command", ["status", "metrics"])
def test_garbage_for_an_answer(tmp_path: Path, command: str, answer: object) -> None:
    """Of another version, or no cpu-guardd at all: said, or shown, on lines of our own."""
    path = tmp_path / "guard.sock"
    with daemon(path, frame({"parameters": answer})):
        done = run(command, "--socket", path)

    if done.status:
        assert (3, "") == (done.status, done.out)
        assert done.err.startswith("error: the daemon's reply is not understood: ")
    assert all(line.isprintable() for line in (done.out + done.err).splitlines())


@pytest.mark.parametrize(
    ("line", "status"),
    [
        pytest.param("--version", 0, id="done"),
        pytest.param("--version 2>&-", 0, id="no standard error"),
        pytest.param("nonsense", 2, id="usage"),
        pytest.param("nonsense 2>&-", 2, id="usage that nobody is told"),
        pytest.param("decode /dev/null", 3, id="cannot tell"),
        pytest.param("--version | cat", 0, id="a pipe"),
        pytest.param("--version >/dev/full", 74, id="a full disk"),
        pytest.param("models x86_64 --cpu-map tests/data/cpu_map >/dev/full", 74, id="its command"),
    ],
)
def test_end(line: str, status: int) -> None:
    """The program leaves at once, but not before all is written, and with its status."""
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{sys.executable} -m guardd.ctl {line}"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )

    assert status == done.returncode
    assert ("version" in line and status == 0) == done.stdout.startswith("cpu-guardctl ")
