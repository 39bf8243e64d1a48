"""Run inside a guarded host: call the installed hook for many guests, as fast as can be.

stdin: {"hook": path, "at_once": number, "calls": [[name, domain XML], ...]}; stdout: [[seconds from
before the fork to the exit, exit status], ...] in the order of the calls.
"""

import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C",
}


def spawn(hook: str, name: str, path: str) -> int:
    """Start the hook as libvirt does, the domain XML on stdin; give its process id."""
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, path, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
        (os.POSIX_SPAWN_OPEN, 2, "/dev/null", os.O_WRONLY, 0),
    ]
    argv = [hook, name, "prepare", "begin", "-"]
    return os.posix_spawn(hook, argv, ENVIRONMENT, file_actions=actions)


def storm(hook: str, paths: list[tuple[str, str]], at_once: int) -> list[tuple[float, int]]:
    """Call for each (name, file of the XML), at most *at_once* at a time."""
    places = threading.Semaphore(at_once)
    ended: dict[int, tuple[float, int]] = {}

    def reap() -> None:
        for _ in paths:
            pid, status = os.wait()
            ended[pid] = (time.monotonic(), os.waitstatus_to_exitcode(status))
            places.release()

    begun: dict[int, float] = {}
    reaper: threading.Thread | None = None
    for name, path in paths:
        places.acquire()
        start = time.monotonic()
        begun[spawn(hook, name, path)] = start
        if reaper is None:  # not before there is somebody to wait for
            reaper = threading.Thread(target=reap)
            reaper.start()
    if reaper is not None:
        reaper.join()
    return [(ended[pid][0] - start, ended[pid][1]) for pid, start in begun.items()]


def main() -> None:
    asked = json.load(sys.stdin)
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for name, xml in asked["calls"]:
            path = f"{folder}/{name}"
            Path(path).write_text(xml, encoding="utf-8")
            paths.append((name, path))
        json.dump(storm(asked["hook"], paths, asked["at_once"]), sys.stdout)


if __name__ == "__main__":
    main()
