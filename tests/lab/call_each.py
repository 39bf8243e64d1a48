"""Run inside a guarded host: call the installed hook for many guests, as fast as can be.

stdin: {"hook": path, "at_once": number, "calls": [[name, domain XML], ...]}; stdout: [[seconds,
exit status], ...] in the order of the calls. The seconds are from before the fork to the exit, or
where all are called at once, from when all processes are there and may run.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C",
}


def spawn(hook: str, name: str, path: str, gate: tuple[int, int]) -> int:
    """Fork a process that becomes the hook, the domain XML on stdin, once *gate* is open.

    *gate* is a pipe; it opens when this program closes its writing end.
    """
    pid = os.fork()
    if pid:
        return pid
    try:
        os.close(gate[1])
        os.read(gate[0], 1)
        os.dup2(os.open(path, os.O_RDONLY), 0)
        null = os.open("/dev/null", os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        os.execve(hook, [hook, name, "prepare", "begin", "-"], ENVIRONMENT)
    finally:
        os._exit(127)


def together(hook: str, paths: list[tuple[str, str]]) -> list[tuple[float, int]]:
    """Call for each (name, file of the XML): all are there before the first one begins."""
    gate = os.pipe()
    pids = [spawn(hook, name, path, gate) for name, path in paths]
    start = time.monotonic()
    os.close(gate[1])
    ended = {}
    for _ in pids:
        pid, status = os.wait()
        ended[pid] = (time.monotonic() - start, os.waitstatus_to_exitcode(status))
    os.close(gate[0])
    return [ended[pid] for pid in pids]


def in_turn(hook: str, paths: list[tuple[str, str]], at_once: int) -> list[tuple[float, int]]:
    """Do the same *at_once* at a time: the next one begins when one has ended."""
    done: list[tuple[float, int]] = [(0.0, 0)] * len(paths)
    running: dict[int, tuple[int, float]] = {}
    for number, (name, path) in enumerate(paths):
        if len(running) >= at_once:
            reap(running, done)
        gate = os.pipe()
        start = time.monotonic()
        running[spawn(hook, name, path, gate)] = number, start
        os.close(gate[1])
        os.close(gate[0])
    while running:
        reap(running, done)
    return done


def reap(running: dict[int, tuple[int, float]], done: list[tuple[float, int]]) -> None:
    """Wait for one of *running* to end, and note how it did."""
    pid, status = os.wait()
    number, start = running.pop(pid)
    done[number] = time.monotonic() - start, os.waitstatus_to_exitcode(status)


def main() -> None:
    asked = json.load(sys.stdin)
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for name, xml in asked["calls"]:
            path = f"{folder}/{name}"
            Path(path).write_text(xml, encoding="utf-8")
            paths.append((name, path))
        if asked["at_once"] < len(paths):
            done = in_turn(asked["hook"], paths, asked["at_once"])
        else:
            done = together(asked["hook"], paths)
        json.dump(done, sys.stdout)


if __name__ == "__main__":
    main()
