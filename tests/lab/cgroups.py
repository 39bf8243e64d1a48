"""A host's place in this machine's cgroups, where no systemd runs that would give it a scope.

nspawn puts a container into "payload" below the cgroup it starts in: two containers started in
one cgroup would share their whole service trees.
"""

import contextlib
import os
import time
from pathlib import Path

from tests.lab.nodes import NODES, Node


def has_systemd() -> bool:
    return Path("/run/systemd/system").is_dir()


def _own(node: Node) -> list[Path]:
    """The host's cgroup in each hierarchy that systemd works with."""
    if has_systemd():
        return []
    found = []
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, point, kind, options, *_ = line.split(" ")
        if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options.split(",")):
            found.append(Path(point, node.unit))
    return found


def make(node: Node) -> list[Path]:
    cgroups = _own(node)
    for cgroup in cgroups:
        cgroup.mkdir(exist_ok=True)
    return cgroups


def pass_controllers(node: Node) -> None:
    """Let the host's cgroup v2 have this machine's controllers, once nspawn has left it empty.

    libvirt gives guests a scope only where cgroup v2 has a controller, whichever.
    """
    for cgroup in _own(node):
        for controller in _controllers(cgroup.parent):
            _switch(cgroup.parent, f"+{controller}")
            _switch(cgroup, f"+{controller}")


def withdraw_controllers() -> None:
    """Undo `pass_controllers`, unless there are other cgroups that may make use of it."""
    for parent in {cgroup.parent for node in NODES for cgroup in _own(node)}:
        if not any(path.is_dir() for path in parent.iterdir()):
            for controller in _controllers(parent):
                _switch(parent, f"-{controller}")


def _controllers(cgroup: Path) -> list[str]:
    try:
        return (cgroup / "cgroup.controllers").read_text().split()
    except FileNotFoundError:  # cgroup v1
        return []


def _switch(cgroup: Path, change: str) -> None:
    # Not every controller can be passed on everywhere; none has to be.
    with contextlib.suppress(OSError):
        (cgroup / "cgroup.subtree_control").write_text(change)


def processes(node: Node) -> list[str]:
    """The pids in the host's cgroups."""
    return [
        pid
        for cgroup in _own(node)
        for procs in cgroup.rglob("cgroup.procs")
        for pid in procs.read_text().split()
    ]


def remove(node: Node) -> None:
    # A cgroup whose last process has just died may be busy for another moment.
    deadline = time.monotonic() + 5
    for cgroup in _own(node):
        while not _removed(cgroup) and time.monotonic() < deadline:
            time.sleep(0.05)


def _removed(cgroup: Path) -> bool:
    if not cgroup.is_dir():
        return True
    try:
        for folder, _, _ in os.walk(cgroup, topdown=False):
            Path(folder).rmdir()
    except OSError:
        return False
    return True
