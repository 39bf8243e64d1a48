"""The hook while a member of group libvirt does its worst on the daemon's socket.

python3 bench/flood.py [ROUNDS]; run as root on a guarded host. Each way is tried with PROGRAMS of
them at once. "alone" counts calls that the daemon did not answer, so that the hook judged itself.
"""

import contextlib
import grp
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

HOOK = "/etc/libvirt/hooks/qemu"
SOCKET = "/run/cpu-guardd/guard.sock"
PROGRAMS = 4
HELD = 200  # connections that each program tries to keep
NOBODY = 65534
STATUS = b'{"method":"io.cpuguardd.Guard.GetStatus"}\0'
XML = b"""<domain type='qemu'><name>flooded</name>
<os><type arch='x86_64' machine='q35'>hvm</type></os>
<cpu mode='custom' match='exact' check='none'><model fallback='forbid'>Nehalem</model></cpu>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator></devices></domain>"""


def opened() -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(SOCKET)
    return connection


def connects() -> None:
    while True:
        opened().close()


def holds_idle() -> None:
    held: list[socket.socket] = []
    while True:
        held = [*held, opened()][-HELD:]


def writes_slowly() -> None:
    held: list[socket.socket] = []
    while True:
        if len(held) < HELD:
            held.append(opened())
        for each in list(held):
            try:
                each.sendall(b" ")
            except OSError:
                held.remove(each)
        time.sleep(1 / HELD)


def never_reads() -> None:
    held: list[socket.socket] = []
    while True:
        connection = opened()
        connection.settimeout(0.1)
        with contextlib.suppress(OSError):
            connection.sendall(STATUS * 2000)
        held = [*held, connection][-HELD:]


def sends_big_frames() -> None:
    while True:
        with contextlib.suppress(OSError), opened() as connection:
            connection.sendall(b"[" * (1 << 22))


def asks_in_a_loop() -> None:
    while True:
        with contextlib.suppress(OSError), opened() as connection:
            while connection.send(STATUS * 500):
                answered = 0
                while answered < 500:  # noqa: PLR2004
                    part = connection.recv(1 << 20)
                    if not part:
                        raise ConnectionResetError
                    answered += part.count(b"\0")


WAYS: dict[str, Callable[[], None] | None] = {
    "nothing": None,
    "connects and leaves": connects,
    "holds idle connections": holds_idle,
    "writes a byte at a time": writes_slowly,
    "asks and never reads": never_reads,
    "sends 4 MB frames": sends_big_frames,
    "asks 500 times at once": asks_in_a_loop,
}


def flooding(way: Callable[[], None]) -> int:
    pid = os.fork()
    if pid:
        return pid
    os.setgroups([grp.getgrnam("libvirt").gr_gid])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    while True:
        with contextlib.suppress(OSError):
            way()


def judged() -> int:
    with opened() as connection:
        connection.sendall(STATUS)
        reply = b""
        while not reply.endswith(b"\0"):
            reply += connection.recv(1 << 16)
    return sum(json.loads(reply[:-1])["parameters"]["verdicts"].values())


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    for name, way in WAYS.items():
        before = judged()
        programs = [flooding(way) for _ in range(PROGRAMS)] if way else []
        time.sleep(1)  # for the flood to rise
        try:
            times, failed = [], 0
            for _ in range(rounds):
                begin = time.perf_counter()
                words = [HOOK, "flooded", "prepare", "begin", "-"]
                failed += subprocess.run(words, input=XML, check=False).returncode != 0
                times.append((time.perf_counter() - begin) * 1e3)
        finally:
            for pid in programs:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        time.sleep(1)  # for it to fall
        alone = rounds - (judged() - before)
        p99 = sorted(times)[int(len(times) * 0.99)]
        print(
            f"{name:24} median {statistics.median(times):6.1f} ms  p99 {p99:6.1f}"
            f"  max {max(times):6.1f}  failed {failed}  alone {alone}",
            flush=True,
        )


main()
