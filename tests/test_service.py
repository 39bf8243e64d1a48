"""systemd: what it hands over and is told; one that hangs must not hang the service."""

import os
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from guardd import service
from tests.recordings import ROOT

SECONDS = 10.0  # far more than any of this takes


def test_notify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """sd_notify(3): one datagram to the socket that the environment names."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(SECONDS)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))

        service.notify("READY=1")

        assert b"READY=1" == manager.recv(100)


def test_a_systemd_that_does_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or is not there: verdicts go on."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    service.notify("READY=1")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as writer:
            writer.settimeout(0)
            with suppress(BlockingIOError):
                while writer.sendto(b"x", str(tmp_path / "notify")):
                    pass
        service.notify("WATCHDOG=1")
        manager.recv(16)
        service.notify("STATUS=a\udcff")


@contextmanager
def no_descriptors_left() -> Iterator[None]:
    """Let this process open nothing more."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket(socket.AF_UNIX) as last:
        lowest = last.fileno()
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            socket.socket(socket.AF_UNIX)
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_notify_without_descriptors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or systemd would kill, for its watchdog, a daemon that still answers."""
    service._sender().close()
    service._sender.cache_clear()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(SECONDS)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        with no_descriptors_left():
            service.notify("READY=1")
        service.notify("STATUS=at last")
        with no_descriptors_left():
            service.notify("WATCHDOG=1")

        assert [b"STATUS=at last", b"WATCHDOG=1"] == [manager.recv(100) for _ in range(2)]


def test_notify_outside_of_a_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Started by hand, nobody listens, and nothing happens."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)

    assert service.notify("READY=1") is None  # type: ignore[func-returns-value]


@pytest.mark.parametrize(
    ("variable", "directory"), [("/run/x/y", Path("/run/x/y")), ("", None), (None, None)]
)
def test_runtime_directory(
    monkeypatch: pytest.MonkeyPatch, variable: str | None, directory: Path | None
) -> None:
    """systemd.exec(5), RuntimeDirectory=: by hand there is none."""
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    if variable is not None:
        monkeypatch.setenv("RUNTIME_DIRECTORY", variable)

    assert directory == service.runtime_directory()


def test_no_sockets_outside_of_a_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon says then that it needs --socket."""
    monkeypatch.delenv("LISTEN_FDS", raising=False)

    assert [] == service.listening_sockets()


def test_sockets_of_a_unit(tmp_path: Path) -> None:
    """sd_listen_fds(3): from descriptor 3 on; what is no unix socket is left alone."""
    path = tmp_path / "guard.sock"
    program = """
import os, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
pipe, _ = os.pipe()
os.dup2(listener.fileno(), 10)
os.dup2(pipe, 11)
os.dup2(10, 3)
os.dup2(11, 4)
os.environ["LISTEN_PID"] = str(os.getpid())
os.environ["LISTEN_FDS"] = "2"
from guardd.service import listening_sockets
print([s.getsockname() for s in listening_sockets()])
os._exit(0)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )

    assert (f"['{path}']\n", "") == (done.stdout, done.stderr)
