"""A verdict, from request bytes to reply bytes, beside one compareHypervisorCPU of libvirtd."""

from __future__ import annotations

import gc
import json
import selectors
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import libvirt

from bench.place import (
    SECONDS,
    Daemon,
    daemon,
    default_hypervisor,
    in_memory,
    libvirtd,
    wait_until_known,
)
from bench.rounds import interleaved, medians, percentile
from bench.table import Row, against, in_words
from bench.texts import HASWELL_GUEST, domain
from guardd import files
from guardd.cpu.definition import Check, Mode
from guardd.cpu.xml import format_cpu
from guardd.daemon import Daemon as GuardDaemon
from guardd.facts.domcaps import parse_domcaps
from guardd.journal.owed import Owed
from guardd.probe.cpu_map import read_cpu_map
from guardd.server import ROOT_UID, Method, Peer, Server
from guardd.state import State

CALLERS = 64
AT_A_TIME = 20  # a call alone finds the caches full of the others' work; a storm of calls does not
CALL = "io.cpuguardd.Guard.Check"


def rows(rounds: int) -> Iterator[Row]:
    """Measure beside a libvirtd of our own; without one there is no peer, and nothing is said."""
    with libvirtd() as uri:
        if uri is None:
            yield Row(what="a verdict", ours="not measured", peer="no libvirtd can be run here")
            return
        with daemon(uri) as guard:
            wait_until_known(guard)
            connection = libvirt.open(uri)
            for what, cpu in (("fits", host_model(connection)), ("is refused", HASWELL_GUEST)):
                yield from _verdict(guard, connection, what, cpu, rounds)


def _verdict(
    guard: Daemon, connection: libvirt.virConnect, what: str, cpu: str, rounds: int
) -> Iterator[Row]:
    emulator, machine = default_hypervisor(connection.getURI())
    xml = domain(cpu, virt_type="qemu", machine=machine, emulator=emulator)
    frame, client = call_bytes(xml), Client(guard.socket)
    with in_memory() as runtime:
        server = _Server(guard, runtime)
        spent = interleaved(
            {
                "within": lambda: server.reply(frame),
                "ours": lambda: client.ask(frame),
                "peer": lambda: connection.compareHypervisorCPU(
                    emulator, "x86_64", machine, "qemu", cpu
                ),
            },
            rounds=rounds // AT_A_TIME,
            times=AT_A_TIME,
        )
    found, peer = medians(spent), "compareHypervisorCPU"
    size = f"{len(xml) / 1000:.0f} kB domain that {what}"
    yield against(f"{size}: request to reply bytes", found["within"], found["peer"], peer, 1.0)
    yield against(f"{size}: round trip of a client", found["ours"], found["peer"], peer, None)
    yield from _many(guard, frame)


class _Server:
    """A second daemon's verdict path, in this process, with what the first one learned."""

    def __init__(self, guard: Daemon, runtime: Path) -> None:
        snapshot = files.kept_snapshot(guard.folder / "state")
        state = State(read_cpu_map(), snapshot)
        owed = Owed(runtime / "owed")
        there = GuardDaemon(state, guard.folder, guard.folder, owed=owed)
        gc.freeze()  # as the daemon does
        # what comes after the reply is for the row of the round trip
        there.later = lambda _act, *_words: None
        self._server = Server({"Check": Method(there.check, is_privileged=True)}, ROOT_UID)

    def reply(self, frame: bytes) -> None:
        """Answer *frame*."""
        self._server.reply_to(frame[:-1], Peer(1, ROOT_UID, 0))


def _many(guard: Daemon, frame: bytes) -> Iterator[Row]:
    times = []
    for _ in range(10):
        times += storm(guard.socket, frame)
    middle, late = percentile(times, 50), percentile(times, 99)
    yield Row(
        what=f"the same with {CALLERS} callers at once: p99 against the median",
        ours=in_words(late),
        peer=f"{in_words(middle)}, median",
        ratio=late / middle,
        target=3.0,
    )


def call_bytes(xml: str, name: str = "web1") -> bytes:
    """Write the call that the hook makes."""
    parameters = {"domain": name, "operation": "prepare", "xml": xml}
    return json.dumps({"method": CALL, "parameters": parameters}).encode() + b"\0"


class Client:
    """A connection to the daemon."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(SECONDS)
        self._socket.connect(str(path))

    def ask(self, frame: bytes) -> bytes:
        """Send *frame*; give the reply."""
        self._socket.sendall(frame)
        reply = b""
        while not reply.endswith(b"\0"):
            part = self._socket.recv(1 << 20)
            if not part:
                raise ConnectionError("the daemon hung up")
            reply += part
        return reply


def storm(path: Path, frame: bytes, callers: int = CALLERS) -> list[float]:
    """Ask on *callers* connections at once; give the seconds that each waited for its reply.

    By one thread: as many threads would measure each other.
    """
    sent: dict[socket.socket, float] = {}
    with selectors.DefaultSelector() as selector:
        for _ in range(callers):
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(str(path))
            selector.register(connection, selectors.EVENT_READ, connection)
            sent[connection] = 0.0
        for connection in sent:
            sent[connection] = time.perf_counter()
            connection.sendall(frame)
        seconds = []
        while selector.get_map():
            for key, _ in selector.select(SECONDS):
                connection = key.data
                if connection.recv(1 << 20).endswith(b"\0"):
                    seconds.append(time.perf_counter() - sent[connection])
                    selector.unregister(connection)
        for connection in sent:
            connection.close()
    return seconds


def host_model(connection: libvirt.virConnect) -> str:
    """Give the CPU that a guest gets under TCG, as one that a guest asks for."""
    text = connection.getDomainCapabilities(None, "x86_64", None, "qemu")
    given = parse_domcaps(text).host_model
    if given is None:
        raise ValueError("libvirt has no host-model here")
    return format_cpu(given._replace(mode=Mode.CUSTOM, check=Check.PARTIAL))
