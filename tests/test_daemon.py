"""The daemon as a process of its own, watching libvirt's test driver instead of a libvirtd."""

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from varlink import Client

from guardd import files, wire
from guardd.cpu import CPUMap
from guardd.facts.snapshot import snapshot_to_json
from guardd.probe.fingerprint import read_fingerprint
from guardd.watch.starting import Starting
from tests.hooked import Hook
from tests.judge.table import UUID, cpu, domain
from tests.recordings import ROOT, recorded_host

TEST_DRIVER = "test:///default"
NOBODY_THERE = "qemu+unix:///system?socket=/nonexistent"
SECONDS = 20.0  # far more than any step takes
# the recorded host is real, and so is the map: these are told apart with any version of it
GOOD, BAD = cpu("pentium3"), cpu("Skylake-Server")


def ask(path: Path, method: str, parameters: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
    """Call the daemon."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(SECONDS)
        connection.connect(str(path))
        connection.sendall(wire.format_call(f"{wire.INTERFACE}.{method}", parameters or {}))
        reply = b""
        while not reply.endswith(b"\0"):
            part = connection.recv(65536)
            assert part
            reply += part
    return wire.parse_reply(reply[:-1])


def until(is_true: Callable[[], object]) -> None:
    """Wait for something that happens soon."""
    deadline = time.monotonic() + SECONDS
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@dataclass(frozen=True)
class Place:
    """Configuration, state and socket below *folder*."""

    folder: Path

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.folder / files.CONFIG

    @property
    def state(self) -> Path:
        """What is kept."""
        return self.folder / "state"

    @property
    def socket(self) -> Path:
        """Where the daemon listens."""
        return Hook(self.folder).socket

    def command(self, uri: str, *words: str) -> list[str]:
        """Give the command line."""
        return [
            *(sys.executable, "-m", "guardd"),
            *("--config", str(self.folder), "--state", str(self.state)),
            *("--socket", str(self.socket), "--uri", uri, *words),
        ]

    @contextmanager
    def running(self, uri: str = TEST_DRIVER) -> Iterator["Daemon"]:
        """Run the daemon; it must end well when it is told to."""
        with (self.folder / "output").open("wb") as output:
            process = subprocess.Popen(
                self.command(uri), cwd=ROOT, stdout=output, stderr=subprocess.STDOUT
            )
        try:
            until(lambda: process.poll() is not None or self.is_listening())
            yield Daemon(self, process)
            process.send_signal(signal.SIGTERM)
            assert 0 == process.wait(SECONDS)
        finally:
            process.kill()
            process.wait()

    def is_listening(self) -> bool:
        """Whether somebody accepts on the socket."""
        with socket.socket(socket.AF_UNIX) as connection:
            return connection.connect_ex(str(self.socket)) == 0

    def output(self) -> str:
        """Give all that the daemon has printed."""
        return (self.folder / "output").read_text()


@dataclass(frozen=True)
class Daemon:
    """A running daemon."""

    place: Place
    process: subprocess.Popen[bytes]

    def status(self) -> Mapping[str, Any]:
        """Ask for its status."""
        return ask(self.place.socket, "GetStatus")

    def check(self, xml: str, name: str = "web1", operation: str = "prepare") -> Mapping[str, Any]:
        """Have a guest judged."""
        parameters = {"domain": name, "operation": operation, "xml": xml}
        return ask(self.place.socket, "Check", parameters)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "state").mkdir()
    return Place(tmp_path)


@pytest.fixture
def known(place: Place, cpu_map: CPUMap) -> Place:  # noqa: ARG001 (it skips without one)
    """Keep what is known of a recorded host, as if it were this one, unchanged since."""
    snapshot = recorded_host("epyc-libvirt9")
    emulators = (hypervisor.emulator for hypervisor in snapshot.hypervisors)
    files.keep_snapshot(snapshot._replace(fingerprint=read_fingerprint(emulators)), place.state)
    return place


def test_nothing_is_known(place: Place) -> None:
    """A first start without libvirt: the status says so, and guests are allowed unjudged."""
    with place.running(NOBODY_THERE) as daemon:
        until(lambda: daemon.status()["problems"])
        reply = daemon.check(domain(BAD))
        status = daemon.status()

    assert (False, "cannot-tell") == (reply["refused"], reply["verdict"]["decision"])
    assert {
        "mode": "enforce",
        "libvirt_connected": False,
        "snapshot_taken": "",
        "snapshot_origin": "",
        "hypervisors": [],
        "verdicts": {"cannot-tell": 1},
        "events": {},
    } == {key: value for key, value in status.items() if key not in ("version", "problems")}


def test_status(place: Place) -> None:
    """libvirt is found, and what it says is kept."""
    with place.running() as daemon:
        until(lambda: daemon.status()["snapshot_taken"])
        until((place.state / files.SNAPSHOT).exists)
        status = daemon.status()

    assert {
        "mode": "enforce",
        "libvirt_connected": True,
        "snapshot_origin": "libvirt",
        "hypervisors": [],  # the test driver tells of none
        "verdicts": {},
        "events": {},
        "problems": [],
    } == {key: value for key, value in status.items() if key not in ("version", "snapshot_taken")}


def test_the_interface_is_what_it_says(known: Place) -> None:
    """The Varlink project's own client reads every reply by the description."""
    with known.running(NOBODY_THERE) as daemon:
        until(lambda: daemon.status()["problems"])
        with (
            Client(address=f"unix:{known.socket}") as client,
            client.open(wire.INTERFACE) as guard,
        ):
            status = guard.GetStatus()
            reply = guard.Check(domain="web1", operation="prepare", xml=domain(BAD))
            numbers = guard.GetMetrics()

    assert [{"operation": "prepare", "decision": "deny", "count": 1}] == numbers["verdicts"]
    assert 1 == numbers["durations"][-1]["count"]
    assert "kvm x86_64 pc-q35-7.2 /usr/bin/qemu-system-x86_64" in status["hypervisors"]
    assert reply["refused"]
    assert "missing-feature" == reply["verdict"]["findings"][0]["code"]


def test_check(known: Place) -> None:
    """From the socket to a verdict, by what was kept: libvirt does not answer."""
    with known.running(NOBODY_THERE) as daemon:
        good, bad = daemon.check(domain(GOOD)), daemon.check(domain(BAD))
        odd = daemon.check("<domain")
        verdicts = daemon.status()["verdicts"]

    assert (False, "allow") == (good["refused"], good["verdict"]["decision"])
    assert (True, "deny", UUID) == (
        bad["refused"],
        bad["verdict"]["decision"],
        bad["verdict"]["uuid"],
    )
    assert bad["line"].startswith("cpu-guardd[missing-feature]: web1 needs ")
    assert bad["verdict"]["source"].startswith("snapshot kept since 2026-11-22T21:00:00Z: ")
    assert (False, "cannot-tell") == (odd["refused"], odd["verdict"]["decision"])
    assert {"allow": 1, "deny": 1, "cannot-tell": 1} == verdicts


def test_the_hook_and_the_daemon(known: Place) -> None:
    """The two programs together, as libvirt has them."""
    hook = Hook(known.folder)
    with known.running(NOBODY_THERE):
        good = hook.run(xml=domain(GOOD).encode())
        bad = hook.run(xml=domain(BAD).encode())
        migrated = hook.run("web1", "migrate", "begin", "-", xml=domain(BAD).encode())

    assert (0, "", "") == (good.status, good.stdout, good.stderr)
    assert (0, "", "") == (migrated.status, migrated.stdout, migrated.stderr)
    assert (1, "") == (bad.status, bad.stdout)
    assert bad.stderr.startswith("cpu-guardd[missing-feature]: web1 needs ")
    assert 1 == len(bad.stderr.splitlines())


def test_libvirt_is_away(known: Place) -> None:
    """The status says so, and what is known is still judged by."""
    with known.running(NOBODY_THERE) as daemon:
        until(lambda: daemon.status()["problems"])
        status = daemon.status()

    assert (False, "kept", "2026-11-22T21:00:00Z") == (
        status["libvirt_connected"],
        status["snapshot_origin"],
        status["snapshot_taken"],
    )
    (problem,) = status["problems"]
    assert problem.startswith(f"cannot connect to {NOBODY_THERE}: ")


def test_what_is_known_survives(place: Place) -> None:
    """One run learns it from libvirt, the next has it before libvirt answers."""
    with place.running() as daemon:
        until((place.state / files.SNAPSHOT).exists)
        taken = daemon.status()["snapshot_taken"]
    with place.running(NOBODY_THERE) as daemon:
        status = daemon.status()

    assert ("kept", taken) == (status["snapshot_origin"], status["snapshot_taken"])


def test_a_host_that_changed(known: Place) -> None:
    """What was kept of another kernel or QEMU still tells something, and refuses nobody."""
    files.keep_snapshot(recorded_host("epyc-libvirt9"), known.state)
    with known.running(NOBODY_THERE) as daemon:
        reply = daemon.check(domain(BAD))
        origin = daemon.status()["snapshot_origin"]

    assert ("stale", False, "warn") == (origin, reply["refused"], reply["verdict"]["decision"])


def test_a_kept_snapshot_that_cannot_be_read(place: Place) -> None:
    """It starts with nothing known, says why, and learns anew."""
    (place.state / files.SNAPSHOT).write_text("{")
    with place.running() as daemon:
        until(lambda: daemon.status()["snapshot_origin"] == "libvirt")

    assert "kept snapshot cannot be read" in place.output()


def test_reload(known: Place) -> None:
    """SIGHUP: the new configuration counts, without a restart."""
    with known.running(NOBODY_THERE) as daemon:
        assert daemon.check(domain(BAD))["refused"]
        known.config.write_text('mode = "warn"\non_unavailable = "deny"')
        daemon.process.send_signal(signal.SIGHUP)
        until(lambda: daemon.status()["mode"] == "warn")
        reply = daemon.check(domain(BAD))
        until(lambda: (known.state / files.ON_UNAVAILABLE).read_text() == "deny\n")

    assert (False, "warn") == (reply["refused"], reply["verdict"]["decision"])


def test_reload_of_a_mistake(known: Place) -> None:
    """The configuration in force stays, and the status names file and line until it is mended."""
    known.config.write_text('mode = "warn"\non_unavailable = "deny"')
    with known.running(NOBODY_THERE) as daemon:
        until(lambda: len(daemon.status()["problems"]) == 1)
        known.config.write_text('mode = "enforce"\n\nmoode = 1\n')
        daemon.process.send_signal(signal.SIGHUP)
        until(lambda: len(daemon.status()["problems"]) == 2)
        broken = daemon.status()
        word = (known.state / files.ON_UNAVAILABLE).read_text()
        known.config.write_text("")
        daemon.process.send_signal(signal.SIGHUP)
        until(lambda: daemon.status()["mode"] == "enforce")
        mended = daemon.status()

    assert ("warn", "deny\n") == (broken["mode"], word)
    assert [f"{known.config}:3: unknown key 'moode', did you mean 'mode'?"] == [
        problem for problem in broken["problems"] if "connect" not in problem
    ]
    assert 1 == len(mended["problems"])


def test_a_pool_and_a_mistake_in_it(known: Place) -> None:
    """Read with the configuration; a file that cannot be read keeps what was in force."""
    pool = known.config.parent / files.POOL
    pool.mkdir()
    lost = recorded_host("haswell")._replace(hostname="far", hypervisors=())
    (pool / "far.json").write_text(snapshot_to_json(lost))
    with known.running(NOBODY_THERE) as daemon:
        refused = daemon.check(domain(GOOD))
        (pool / "far.json").write_text("{}")
        daemon.process.send_signal(signal.SIGHUP)
        until(lambda: any("far.json" in problem for problem in daemon.status()["problems"]))
        still = daemon.check(domain(GOOD))
        (pool / "far.json").unlink()
        daemon.process.send_signal(signal.SIGHUP)
        until(lambda: not daemon.check(domain(GOOD))["refused"])

    assert refused["line"].startswith("cpu-guardd[outside-pool]: web1 needs kvm guests of x86_64")
    assert still["refused"]


def test_a_revert_is_told_from_an_arrival(known: Place) -> None:
    """Only who has seen `migrate` or `restore` before can tell."""
    in_force = domain(cpu("Haswell", "require hypervisor", attributes="check='full'"))
    with known.running(NOBODY_THERE) as daemon:
        revert = daemon.check(in_force)
        daemon.check(in_force, operation="restore")
        arrival = daemon.check(in_force)

    assert (False, "warn") == (revert["refused"], revert["verdict"]["decision"])
    assert revert["verdict"]["would_refuse"]
    assert arrival["refused"]


def test_on_unavailable_is_written_at_the_start(place: Place) -> None:
    """The hook's last resort must not answer by what an older configuration said."""
    (place.state / files.ON_UNAVAILABLE).write_text("deny\n")
    with place.running():
        until(lambda: (place.state / files.ON_UNAVAILABLE).read_text() == "allow\n")


def test_a_start_on_a_mistake(known: Place) -> None:
    """The last good configuration counts, and the status says what is wrong."""
    known.config.write_text('mode = "warn"')
    with known.running(NOBODY_THERE) as daemon:
        until((known.state / files.GOOD_CONFIG).exists)
    known.config.write_text("moode = 1")
    with known.running(NOBODY_THERE) as daemon:
        status = daemon.status()

    assert "warn" == status["mode"]
    assert f"{known.config}:1: unknown key 'moode', did you mean 'mode'?" in status["problems"]


def test_a_state_folder_that_cannot_be_written(place: Place) -> None:
    """It judges all the same; the status says what will be missing after a restart."""
    place.state.rmdir()
    with place.running() as daemon:
        until(lambda: daemon.status()["snapshot_origin"] == "libvirt")
        until(lambda: len(daemon.status()["problems"]) == 3)
        problems = daemon.status()["problems"]

    assert {f"cannot write below {place.state}: No such file or directory"} == set(problems)


def test_what_was_not_kept_is_kept_as_soon_as_it_can_be(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk was full, say, and is no more: nobody has to restart or to reload anything."""
    monkeypatch.setenv("WATCHDOG_USEC", "300000")  # it looks around twice in that
    place.state.rmdir()
    with place.running() as daemon:
        until(lambda: len(daemon.status()["problems"]) == 3)
        place.state.mkdir()
        until(lambda: daemon.status()["problems"] == [])
        kept = {path.name for path in place.state.iterdir()}

    assert {files.SNAPSHOT, files.GOOD_CONFIG, files.ON_UNAVAILABLE} == kept


def test_boots_are_left_to_the_next_one(known: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was allowed to start, and not heard of since; not what was refused, or arrives."""
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(known.folder))
    with known.running(NOBODY_THERE) as daemon:
        daemon.check(domain(GOOD), "web1")
        daemon.check(domain(BAD), "web2")
        daemon.check(domain(GOOD), "web3", "migrate")
        daemon.check(domain(GOOD), "web3")

    assert {"web1"} == Starting(known.folder / "starting").names()


def test_nothing_can_be_left_to_the_next_one(known: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what is in the way, and judges all the same."""
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(known.folder))
    (known.folder / "starting").write_text("")
    (known.folder / "owed").mkdir()
    with known.running(NOBODY_THERE) as daemon:
        assert not daemon.check(domain(GOOD))["refused"]
        assert daemon.check(domain(BAD))["refused"]

    assert f"WARNING: cannot use {known.folder}/starting: File exists\n" in known.output()
    assert f"WARNING: cannot use {known.folder}/owed: Is a directory\n" in known.output()


def test_it_is_alive_without_descriptors(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd hears so as before: to kill it would stop the verdicts that it still gives."""
    monkeypatch.setenv("WATCHDOG_USEC", "300000")
    monkeypatch.setenv("NOTIFY_SOCKET", str(place.folder / "notify"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(place.folder / "notify"))
        manager.settimeout(SECONDS)
        with place.running() as daemon:
            until(lambda: daemon.status()["snapshot_taken"])
            before = resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE)
            # those up to 2 are taken, and those from there on are too many
            resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (3, before[1]))
            manager.settimeout(0)
            with suppress(BlockingIOError):
                while manager.recv(4096):
                    pass
            manager.settimeout(SECONDS)
            beats = {manager.recv(4096) for _ in range(4)}
            resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, before)

    assert b"WATCHDOG=1" in beats
    assert beats <= {b"WATCHDOG=1"} | {beat for beat in beats if beat.startswith(b"STATUS=")}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_when_it_is_told_to(number: signal.Signals, place: Place) -> None:
    """Cleanly, with status 0, while callers are connected and say nothing."""
    with place.running() as daemon, socket.socket(socket.AF_UNIX) as idle:
        idle.connect(str(place.socket))
        daemon.status()
        daemon.process.send_signal(number)
        assert 0 == daemon.process.wait(SECONDS)

    assert "Traceback" not in place.output()


def test_a_socket_that_is_removed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can ask any more: that is a problem to those who were there before, and a record."""
    monkeypatch.setenv("WATCHDOG_USEC", "300000")
    with place.running() as daemon, socket.socket(socket.AF_UNIX) as before:
        before.connect(str(place.socket))
        before.settimeout(SECONDS)

        def lost() -> bool:
            before.sendall(wire.format_call(f"{wire.INTERFACE}.GetStatus", {}))
            return b"was removed: systemctl restart cpu-guardd.socket" in before.recv(65536)

        until(lambda: daemon.status()["snapshot_taken"])
        assert not lost()
        place.socket.rename(place.folder / "moved")
        until(lost)
        (place.folder / "moved").rename(place.socket)
        until(lambda: not lost())


def test_a_socket_that_was_left_behind(place: Place) -> None:
    """By a daemon that was killed: it is replaced."""
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(place.socket))

    with place.running() as daemon:
        assert "enforce" == daemon.status()["mode"]


def run(command: list[str]) -> tuple[int, str]:
    """Run *command* to its end; give status and what it printed."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=SECONDS,
        env={key: value for key, value in os.environ.items() if key != "LISTEN_FDS"},
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("text", ["", 'mode = "warn"'])
def test_check_config(text: str, place: Place) -> None:
    """Good: status 0 and not a word."""
    place.config.write_text(text)

    assert (0, "") == run(place.command(TEST_DRIVER, "--check-config"))


@pytest.mark.parametrize("words", [(), ("--check-config",)])
def test_a_mistake_from_the_start(words: tuple[str, ...], place: Place) -> None:
    """The administrator reads where it is; EX_CONFIG keeps systemd from trying again."""
    place.config.write_text("moode = 1")

    assert (
        78,
        f"cpu-guardd: {place.config}:1: unknown key 'moode', did you mean 'mode'?\n",
    ) == run(place.command(TEST_DRIVER, *words))


@pytest.mark.usefixtures("cpu_map")
def test_a_ceiling_of_an_unknown_model(place: Place) -> None:
    """Only the CPU map tells that it is a mistake, and that is asked at once."""
    place.config.write_text('[ceiling]\nx86_64 = "Pentium9"')

    status, output = run(place.command(TEST_DRIVER, "--check-config"))

    assert 78 == status
    assert "ceiling for x86_64: Unknown CPU model Pentium9" in output


def test_no_socket(place: Place) -> None:
    """Started by hand without one it says what it needs."""
    command = place.command(TEST_DRIVER)
    position = command.index("--socket")
    del command[position : position + 2]

    status, output = run(command)

    assert 2 == status
    assert output.startswith("cpu-guardd: no socket: ")
