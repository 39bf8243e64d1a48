"""One host's container: started, recorded, found again, entered and stopped.

Only processes that were recorded, by pid and start time, are ever signalled.
"""

import contextlib
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from tests.lab import cgroups
from tests.lab.mounts import unmount_below
from tests.lab.nodes import Node
from tests.lab.process import LabError, say, tail
from tests.lab.wire import namespace

HALT_TIMEOUT = 30
_DEVICES = ("/dev/kvm", "/dev/net/tun")
_HALT = signal.SIGRTMIN + 3  # systemd(1): halt.target


def _container_record(node: Node) -> Path:
    return node.state / "nspawn.pid"


def _leader_record(node: Node) -> Path:
    return node.state / "leader.pid"


def _console(node: Node) -> Path:
    return node.state / "console.log"


def _start_time(pid: int) -> str | None:
    """The process's start time; None when it is gone, or only waits to be reaped."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state in "ZX" else fields[18]


def _recorded(record: Path) -> int | None:
    """The pid in *record*, as long as it is still the process that was recorded."""
    try:
        pid, started = record.read_text().split()
    except FileNotFoundError:
        return None
    return int(pid) if _start_time(int(pid)) == started else None


def is_running(node: Node) -> bool:
    return _recorded(_container_record(node)) is not None


def leader(node: Node) -> int | None:
    """The host's own pid 1, as this machine numbers it."""
    pid = _recorded(_leader_record(node))
    if pid is not None:
        return pid
    container = _recorded(_container_record(node))
    if container is None:
        return None
    pid = next((pid for pid in _descendants(container) if _is_init(pid)), None)
    started = None if pid is None else _start_time(pid)
    if started is None:
        return None
    _leader_record(node).write_text(f"{pid} {started}\n")
    return pid


def _descendants(pid: int) -> Iterable[int]:
    pending = [pid]
    while pending:
        parent = pending.pop()
        children: list[int] = []
        for path in Path(f"/proc/{parent}/task").glob("*/children"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                children.extend(map(int, path.read_text().split()))
        yield from children
        pending.extend(children)


def _is_init(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("NSpid:"):
                outer_and_inner = 2
                pids = line.split()[1:]
                return len(pids) == outer_and_inner and pids[1] == "1"
    return False


def entering(node: Node, argv: Iterable[str]) -> list[str]:
    """The command that runs *argv* inside the host."""
    pid = leader(node)
    if pid is None:
        raise LabError(f"{node.name} is not running (tests/lab/lab.py up)")
    # Entering the mount namespace leaves the working folder at its root; env(1) moves on.
    environment = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "TERM": os.environ.get("TERM", "dumb"),
        "LIBVIRT_DEFAULT_URI": "qemu:///system",
    }
    assignments = [f"{name}={value}" for name, value in environment.items()]
    enter = ["nsenter", f"--target={pid}", "--all", "--"]
    return [*enter, "env", "-i", "-C", "/root", *assignments, *argv]


def launch(node: Node, lock: int) -> None:
    """Start the host's container on its root folder; *lock* is held until it is recorded."""
    strangers = cgroups.processes(node)
    if strangers:
        pids = " ".join(strangers)
        raise LabError(f"{node.name}: its cgroup holds processes that were not recorded: {pids}")
    _leader_record(node).unlink(missing_ok=True)
    _container_record(node).unlink(missing_ok=True)
    launcher = [sys.executable, "-IS", str(Path(__file__).with_name("launch.py"))]
    launcher += [str(_container_record(node)), str(lock)]
    # The hosts get a pure cgroup v2 tree, as on any Debian of today, whatever this machine has:
    # trixie's systemd refuses anything else.
    environment = {**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
    with _console(node).open("wb") as console:
        result = subprocess.run(  # noqa: PLW1510 - the exit status is reported below
            [*launcher, *map(str, cgroups.make(node)), "--", *_scope(node), *_nspawn(node)],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            env=environment,
            pass_fds=(lock,),
            timeout=30,
        )
    if result.returncode != 0 or not _container_record(node).exists():
        raise LabError(f"{node.name}: its container does not start\n{tail(_console(node))}")


def _nspawn(node: Node) -> list[str]:
    return [
        "systemd-nspawn",
        "--quiet",
        "--boot",
        f"--directory={node.root}",
        f"--machine={node.unit}",
        f"--hostname={node.name}",
        f"--uuid={node.machine_id}",
        f"--network-namespace-path={namespace(node.name)}",
        "--capability=all",
        *(f"--bind={_device(node, Path(path))}:{path}" for path in _DEVICES if _exists(path)),
        "--settings=no",
        "--register=no",
        "--keep-unit",
        "--resolv-conf=off",
        "--timezone=off",
        "--link-journal=no",
        # The hosts are throw-away: no fsync of theirs is worth a wait.
        "--suppress-sync=yes",
        "--console=pipe",
        "--kill-signal=SIGRTMIN+3",
    ]


def _exists(path: str) -> bool:
    return Path(path).exists()


def _device(node: Node, path: Path) -> Path:
    """A device node of the host's own: the one here would get the owner and mode it has there."""
    own = node.state / "dev" / path.name
    own.parent.mkdir(exist_ok=True)
    if not own.exists():
        os.mknod(own, stat.S_IFCHR | 0o600, path.stat().st_rdev)
    return own


def _scope(node: Node) -> list[str]:
    if not cgroups.has_systemd():
        return []
    options = ["--scope", "--quiet", "--collect", "--property=Delegate=yes"]
    return ["systemd-run", *options, f"--unit={node.unit}", "--"]


def request_halt(node: Node) -> None:
    pid = leader(node)
    if pid is not None:
        _signal(pid, _HALT)


def await_end(node: Node) -> None:
    """Wait until the host has halted, or kill it; then remove what a container leaves behind."""
    if not _wait(partial(_is_gone, node), HALT_TIMEOUT):
        say(f"{node.name}: did not halt in {HALT_TIMEOUT} s, killed")
        # The leader first: when only nspawn is killed, its container lives on.
        for record in (_leader_record(node), _container_record(node)):
            pid = _recorded(record)
            if pid is not None:
                _signal(pid, signal.SIGKILL)
                _wait(partial(_is_over, record), 5)
    if not _is_gone(node):
        raise LabError(f"{node.name}: does not end, see {_console(node)}")
    _tidy(node)


def _is_over(record: Path) -> bool:
    return _recorded(record) is None


def _is_gone(node: Node) -> bool:
    return _is_over(_container_record(node)) and _is_over(_leader_record(node))


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _wait(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _tidy(node: Node) -> None:
    _container_record(node).unlink(missing_ok=True)
    _leader_record(node).unlink(missing_ok=True)
    cgroups.remove(node)
    # Left behind by a killed nspawn.
    runtime = Path("/run/systemd/nspawn")
    for folder in ("propagate", "unix-export"):
        leftover = runtime / folder / node.unit
        unmount_below(leftover)
        with contextlib.suppress(OSError):
            leftover.rmdir()


def console_tail(node: Node) -> str:
    return tail(_console(node))
