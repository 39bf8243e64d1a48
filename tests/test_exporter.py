"""The exporter as a process of its own, scraped while a daemon runs, and while none does."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest

from tests.judge.table import domain
from tests.recordings import ROOT
from tests.test_daemon import BAD, GOOD, NOBODY_THERE, SECONDS, Place, known, place, until

__all__ = ["known", "place"]  # fixtures

pytest.importorskip("prometheus_client")

# what systemd does before it starts a service with sockets (sd_listen_fds(3))
HAND_OVER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
os.execv(sys.executable, [sys.executable, "-m", "guardd.exporter", *sys.argv[2:]])
"""


class UnixHTTPConnection(HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(SECONDS)
        self.sock.connect(self._path)


@dataclass(frozen=True)
class Exporter:
    """A running exporter."""

    address: str | tuple[str, int]
    process: subprocess.Popen[bytes]

    def connection(self) -> HTTPConnection:
        """Connect, by either kind of socket."""
        if isinstance(self.address, str):
            return UnixHTTPConnection(self.address)
        return HTTPConnection(*self.address, timeout=SECONDS)

    def get(self, path: str = "/metrics") -> tuple[HTTPResponse, str]:
        """Ask for *path*; give the response and its text."""
        connection = self.connection()
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response, response.read().decode()
        finally:
            connection.close()

    def value(self, sample: str) -> float:
        """Give the value of *sample*, a name with its labels as they are printed."""
        lines = dict(line.rsplit(" ", 1) for line in self.get()[1].splitlines())
        return float(lines[f"cpu_guardd_{sample}"])

    def memory(self) -> int:
        """Give its resident memory in KiB."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        (line,) = [line for line in text.splitlines() if line.startswith("VmRSS:")]
        return int(line.split()[1])


@contextmanager
def exporting(place: Place, listener: socket.socket) -> Iterator[Exporter]:
    """Run the exporter on *listener*, as systemd does."""
    process = start(place, listener)
    address = listener.getsockname()
    try:
        yield Exporter(address, process)
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def start(place: Place, listener: socket.socket) -> subprocess.Popen[bytes]:
    """Start the exporter with *listener* for its only socket."""
    number = str(listener.fileno())
    with (place.folder / "exporter-output").open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-c", HAND_OVER, number, "--socket", str(place.socket)],
            pass_fds=[listener.fileno()],
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def output(place: Place) -> str:
    """Give what the exporter has printed."""
    return (place.folder / "exporter-output").read_text()


@pytest.fixture
def listener(place: Place) -> Iterator[socket.socket]:
    """Listen on a unix socket."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(place.folder / "metrics.sock"))
        listening.listen(200)
        yield listening


def test_verdicts_are_counted(known: Place, listener: socket.socket) -> None:
    """From the hook's question to Prometheus."""
    with known.running(NOBODY_THERE) as daemon, exporting(known, listener) as exporter:
        daemon.check(domain(GOOD))
        daemon.check(domain(BAD))
        daemon.check(domain(BAD), "web2")
        daemon.check("<domain", operation="migrate")
        response, text = exporter.get()
        samples = {
            sample: exporter.value(sample)
            for sample in (
                "up",
                'verdicts_total{decision="allow",operation="prepare"}',
                'verdicts_total{decision="deny",operation="prepare"}',
                'verdicts_total{decision="cannot-tell",operation="migrate"}',
                'refusals_total{code="missing-feature"}',
                'findings_total{code="missing-feature",mode="enforce"}',
                'findings_total{code="unreadable-guest",mode="enforce"}',
                "check_duration_seconds_count",
                'snapshot_origin{origin="kept"}',
                "libvirt_connected",
            )
        }

    assert (200, True) == (
        response.status,
        str(response.getheader("Content-Type")).startswith("text/plain; version="),
    )
    assert [1, 1, 2, 1, 2, 2, 1, 4, 1, 0] == list(samples.values())
    assert "web2" not in text


def test_the_daemon_comes_and_goes(place: Place, listener: socket.socket) -> None:
    """cpu_guardd_up follows it; why it is away is said once."""
    with exporting(place, listener) as exporter:
        for _ in range(3):
            response, text = exporter.get()
            assert (200, "cpu_guardd_up 0.0") == (response.status, text.splitlines()[-1])
        with place.running() as daemon:
            until(lambda: daemon.status()["libvirt_connected"])
            assert 1 == exporter.value("up")
        assert 0 == exporter.value("up")

    assert 2 == output(place).count("the daemon does not answer")
    assert "Traceback" not in output(place)


def test_a_daemon_that_hangs(place: Place, listener: socket.socket) -> None:
    """It is as good as away, for all who scrape, within the time that they have."""
    with (
        exporting(place, listener) as exporter,
        socket.socket(socket.AF_UNIX) as daemon,
        ThreadPoolExecutor(20) as pool,
    ):
        daemon.bind(str(place.socket))
        daemon.listen()
        scrapes = [pool.submit(exporter.get) for _ in range(20)]
        texts = {scrape.result()[1].splitlines()[-1] for scrape in scrapes}

    assert {"cpu_guardd_up 0.0"} == texts


def test_by_loopback(place: Place) -> None:
    """Prometheus itself scrapes no unix sockets."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        exporting(place, listener) as exporter,
    ):
        assert 0 == exporter.value("up")
        assert 404 == exporter.get("/")[0].status


def test_a_hundred_at_once(place: Place, listener: socket.socket) -> None:
    """All are answered, and the daemon answers libvirt meanwhile."""
    with (
        place.running() as daemon,
        exporting(place, listener) as exporter,
        ThreadPoolExecutor(100) as pool,
    ):
        scrapes = [pool.submit(exporter.get) for _ in range(100)]
        verdicts = [daemon.check(domain(GOOD))["verdict"]["decision"] for _ in range(20)]
        statuses = [scrape.result()[0].status for scrape in scrapes]

    assert ([200] * 100, 20) == (statuses, len(verdicts))


def test_garbage(place: Place, listener: socket.socket) -> None:
    """Whatever comes, the next is served, and nothing is written about it."""
    with exporting(place, listener) as exporter:
        for sent in (b"", b"\0" * 100_000, b"GET /metrics HTTP/1.1\r\n", os.urandom(5000)):
            with socket.socket(socket.AF_UNIX) as connection, suppress(ConnectionError):
                connection.connect(str(exporter.address))
                connection.sendall(sent)
        assert 0 == exporter.value("up")

    assert "Traceback" not in output(place)


@pytest.mark.slow
def test_memory(place: Place, listener: socket.socket) -> None:
    """Ten thousand scrapes, eight weeks' worth of a few minutes', leave nothing behind."""
    with place.running() as daemon, exporting(place, listener) as exporter:
        for _ in range(1000):
            exporter.get()
        before = exporter.memory(), memory(daemon.process.pid)
        for _ in range(10_000):
            exporter.get()
        after = exporter.memory(), memory(daemon.process.pid)

    assert all(now - then < 1024 for then, now in zip(before, after, strict=True)), (before, after)


def memory(pid: int) -> int:
    """Give a process' resident memory in KiB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4


def end(place: Place, listener: socket.socket) -> tuple[int, str]:
    """Run an exporter that cannot begin; give its exit status and what it printed."""
    process = start(place, listener)
    return process.wait(SECONDS), output(place)


def test_a_socket_that_others_can_reach(place: Place) -> None:
    """It says why, and where to look."""
    with socket.create_server(("0.0.0.0", 0)) as listener:  # noqa: S104 (that is the point)
        status, said = end(place, listener)

    assert 78 == status
    assert said.startswith("cpu-guardd: metrics are not served on 0.0.0.0: ")
    assert said.endswith("; see: systemctl cat cpu-guardd-metrics.socket\n")


def test_no_socket(place: Place) -> None:
    """Started by hand without one it says what it needs."""
    done = subprocess.run(
        [sys.executable, "-m", "guardd.exporter", "--socket", str(place.socket)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )

    assert (78, "cpu-guardd: no socket; start cpu-guardd-metrics.socket\n") == (
        done.returncode,
        done.stderr,
    )


def test_without_prometheus_client(tmp_path: Path) -> None:
    """The exporter and the command name the package; nothing else of cpu-guardd misses it."""
    # an interpreter that sees all packages but one: a folder before them has it broken
    (tmp_path / "prometheus_client.py").write_text(
        "raise ModuleNotFoundError('No module named prometheus_client')"
    )
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}

    def run(*words: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", *words],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stderr

    words = "Python's prometheus_client is missing"
    assert (78, True) == _starts(run("guardd.exporter"), f"cpu-guardd: {words}; install python3-")
    assert (3, True) == _starts(run("guardd.ctl", "metrics"), f"error: {words}\nhint: install")
    assert (0, "") == run("guardd.ctl", "--version")
    assert (0, "") == run("guardd", "--version")


def _starts(done: tuple[int, str], words: str) -> tuple[int, bool]:
    return done[0], done[1].startswith(words)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl(place: Place, listener: socket.socket) -> None:
    """As the documentation does it."""
    with exporting(place, listener) as exporter:
        done = subprocess.run(
            ["curl", "-sS", "--unix-socket", str(exporter.address), "http://localhost/metrics"],
            capture_output=True,
            text=True,
            check=True,
        )

    assert done.stdout.endswith("cpu_guardd_up 0.0\n")
