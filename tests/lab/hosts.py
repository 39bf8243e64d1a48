"""Bringing the hosts up and down: idempotent, one at a time, able to pick up half-done work."""

import fcntl
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.lab import base, cgroups, containers, wire
from tests.lab.mounts import is_mounted, remove_tree, unmount_below
from tests.lab.nodes import NODES, Node, state_dir
from tests.lab.process import CommandFailed, LabError, TimedOut, execute, say, step

BOOT_TIMEOUT = 60
LOCK_TIMEOUT = 900


@contextmanager
def _locked() -> Iterator[int]:
    """Keep other programs from changing the lab; yields the lock's file descriptor."""
    state_dir().mkdir(parents=True, exist_ok=True)
    with (state_dir() / "lock").open("w") as file:
        deadline = time.monotonic() + LOCK_TIMEOUT
        waiting = False
        while not _try_lock(file.fileno()):
            if time.monotonic() > deadline:
                raise TimedOut(f"{file.name} was held by another program for {LOCK_TIMEOUT} s")
            if not waiting:
                say("waiting for another program that changes the lab")
            waiting = True
            time.sleep(0.2)
        yield file.fileno()


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def obstacle() -> str | None:
    """Why there can be no lab on this machine, in one line; None when there can."""
    if os.geteuid() != 0:
        return "the lab needs root"
    reason = base.obstacle()
    return reason and f"no lab here: {reason}"


def up(nodes: Sequence[Node] = NODES, *, fresh: bool = False) -> None:
    """Bring *nodes* up; those that run on the base of today are left alone, unless *fresh*."""
    if os.geteuid() != 0:
        raise LabError("the lab needs root")
    names = " ".join(node.name for node in nodes)
    with _locked() as lock, step(f"up: {names}"):
        base.install_tools()
        bases = base.ensure(node.release for node in nodes)
        _stop(
            [
                node
                for node in nodes
                if containers.is_running(node) and (fresh or not _fits(node, bases[node.release]))
            ]
        )
        wire.connect(nodes)
        begin = time.monotonic()
        started = [node for node in nodes if not containers.is_running(node)]
        for node in started:
            _start(node, bases[node.release], lock, fresh=fresh)
        for node in nodes:
            _await_ready(node)
            if node in started:
                say(f"{node.name}: booted ({time.monotonic() - begin:.1f} s)")
        base.prune(_base(node) for node in NODES if containers.is_running(node))


def down(*, purge: bool = False) -> None:
    """Halt all hosts and take the wire down; *purge* also drops what the hosts' overlays hold."""
    if os.geteuid() != 0:
        raise LabError("the lab needs root")
    with _locked(), step("down"):
        _stop(NODES)
        wire.disconnect()
        cgroups.withdraw_controllers()
        if purge:
            remove_tree(state_dir() / "hosts")


def restart(node: Node) -> None:
    """Halt the host and start it again on what its overlay holds."""
    with _locked() as lock:
        base_path = _base(node)
        _stop([node])
        _start(node, base_path, lock, fresh=False)
        _await_ready(node)


def _stop(nodes: Iterable[Node]) -> None:
    stopping = list(nodes)
    for node in stopping:
        containers.request_halt(node)
    for node in stopping:
        containers.await_end(node)
        unmount_below(node.state)


def _start(node: Node, base_path: Path, lock: int, *, fresh: bool) -> None:
    # What an `up` that was killed may have left: a leader without its container, a mount.
    _stop([node])
    if fresh or not _fits(node, base_path):
        if not fresh and (node.state / "base").exists():
            say(f"{node.name}: its base has changed, what its overlay held is dropped")
        remove_tree(node.state)
    node.root.mkdir(parents=True, exist_ok=True)
    _mount_root(node, base_path)
    (node.state / "base").write_text(f"{base_path}\n{base.stamp(base_path)}\n")
    containers.launch(node, lock)


def _base(node: Node) -> Path:
    try:
        return Path((node.state / "base").read_text().splitlines()[0])
    except FileNotFoundError:
        raise LabError(f"{node.name} has never been up") from None


def _fits(node: Node, base_path: Path) -> bool:
    try:
        recorded = (node.state / "base").read_text().splitlines()
    except FileNotFoundError:
        return False
    return recorded == [str(base_path), base.stamp(base_path)]


def _mount_root(node: Node, base_path: Path) -> None:
    copied = node.state / "copied"
    if copied.exists():
        return
    upper, work = node.state / "upper", node.state / "work"
    upper.mkdir(exist_ok=True)
    work.mkdir(exist_ok=True)
    options = f"lowerdir={base_path},upperdir={upper},workdir={work}"
    mount = ["mount", "-t", "overlay", "-o", options, node.unit, str(node.root)]
    if execute(mount, check=False).code == 0:
        return
    with step(f"{node.name}: copied its base, as overlayfs does not work here"):
        remove_tree(node.root)
        execute(["cp", "-a", "--reflink=auto", str(base_path), str(node.root)], timeout=600)
        copied.touch()


def _await_ready(node: Node) -> None:
    deadline = time.monotonic() + BOOT_TIMEOUT
    state = "not booted"
    while state not in ("running", "degraded"):
        if not containers.is_running(node):
            raise LabError(f"{node.name}: its container ended\n{containers.console_tail(node)}")
        if time.monotonic() > deadline:
            tail = containers.console_tail(node)
            raise TimedOut(f"{node.name}: still {state} after {BOOT_TIMEOUT} s\n{tail}")
        time.sleep(0.05)
        if containers.leader(node) is not None:
            state = _inside(node, "systemctl", "is-system-running", check=False)
    cgroups.pass_controllers(node)
    if state == "degraded":
        say(f"{node.name}: failed units: {_inside(node, 'systemctl', '--failed', '--plain')}")
    try:
        _inside(node, "virsh", "--quiet", "list")
    except CommandFailed as error:
        raise LabError(f"{node.name}: libvirtd does not answer: {error}") from None


def _inside(node: Node, *argv: str, check: bool = True) -> str:
    return execute(containers.entering(node, argv), timeout=30, check=check).stdout.strip()


def status() -> Iterator[str]:
    """One line a host, then one line a base."""
    for node in NODES:
        state = "down"
        if containers.is_running(node):
            state = _inside(node, "systemctl", "is-system-running", check=False) or "no answer"
            state += f", pid {containers.leader(node)}"
        elif is_mounted(node.root):
            state = "down, but its root is still mounted"
        yield f"{node.name}  {node.release:8}  {node.address}  {state}"
    for path in sorted(state_dir().glob("base-*")):
        yield str(path)
