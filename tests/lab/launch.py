"""Become a host's container, apart from the program that starts it.

Run as `launch.py RECORD LOCK CGROUP... -- ARGV...` by containers.py: the process writes its own
pid and start time before it turns into the container, so a container is recorded from its first
moment, even if the program that wanted it is killed. The inherited lock (a file descriptor) is
held until then. Returns once the container has been started.
"""

import os
import sys
from pathlib import Path


def main(argv: list[str]) -> int:
    record, lock, *rest = argv
    cgroups, command = rest[: rest.index("--")], rest[rest.index("--") + 1 :]
    os.set_inheritable(int(lock), False)  # noqa: FBT003 - takes it by position only
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        os.read(reader, 1)  # ends when exec, or a failure, closes the other end
        return 0
    os.setsid()
    for cgroup in cgroups:
        Path(cgroup, "cgroup.procs").write_text(str(os.getpid()))
    started = Path("/proc/self/stat").read_text().rpartition(") ")[2].split()[19]
    new = Path(f"{record}.new")
    new.write_text(f"{os.getpid()} {started}\n")
    new.rename(record)
    return os.execvp(command[0], command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
