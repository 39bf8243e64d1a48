"""A daemon, and where it is installed a libvirtd, of the bench's own; gone when it ends."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import libvirt

from guardd.facts.domcaps import parse_domcaps

ROOT = Path(__file__).parents[1]
READY = b"READY=1"
SECONDS = 60.0  # for whatever is waited for
QUIET_SECONDS = 3.0
LIBVIRTD = "/usr/sbin/libvirtd"
_ENOUGH = "auth_unix_rw = 'none'\nunix_sock_rw_perms = '0777'\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """A running cpu-guardd; `ready`: seconds from its start to READY=1."""

    process: subprocess.Popen[bytes]
    socket: Path
    ready: float
    folder: Path


@contextmanager
def daemon(uri: str, *, state: Path | None = None, path: Path | None = None) -> Iterator[Daemon]:
    """Run a daemon that watches *uri*; with *state*, the folder of what another one kept.

    *path*: where it listens, in place of its own folder.
    """
    with (
        tempfile.TemporaryDirectory(prefix="cpu-guardd-bench-") as name,
        in_memory() as runtime,
    ):
        folder = Path(name)
        kept, path = folder / "state", path or folder / "guard.sock"
        if state is None:
            kept.mkdir()
        else:
            shutil.copytree(state, kept)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(str(folder / "notify"))
            notify.settimeout(SECONDS)
            # as its service runs it: with a watchdog that it has to answer, and a folder in memory
            environment = {
                **os.environ,
                "NOTIFY_SOCKET": str(folder / "notify"),
                "WATCHDOG_USEC": "30000000",
                "RUNTIME_DIRECTORY": str(runtime),
                "PYTHONPATH": str(ROOT),
            }
            begin = time.perf_counter()
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "guardd", "--config", str(folder)),
                    *("--state", str(kept), "--socket", str(path), "--uri", uri),
                ],
                cwd=folder,
                env=environment,
                stderr=subprocess.DEVNULL,
            )
            try:
                while READY not in notify.recv(4096):
                    pass
                ready = time.perf_counter() - begin
                threading.Thread(target=_drain, args=(notify,), daemon=True).start()
                yield Daemon(process=process, socket=path, ready=ready, folder=folder)
            finally:
                process.terminate()
                process.wait(SECONDS)


def _drain(notify: socket.socket) -> None:
    """Read on, as systemd does: a daemon waits where its messages are not taken."""
    notify.settimeout(None)
    with contextlib.suppress(OSError):
        while notify.recv(4096):
            pass


@contextmanager
def libvirtd() -> Iterator[str | None]:
    """Run a libvirtd as user `nobody`, apart from the machine's own; give its URI.

    None where there is none to run, or no right to become another user.
    """
    if os.geteuid() != 0 or not Path(LIBVIRTD).exists():
        yield None
        return
    nobody = pwd.getpwnam("nobody")
    with tempfile.TemporaryDirectory(prefix="cpu-guardd-bench-") as name:
        home = Path(name)
        os.chown(home, nobody.pw_uid, nobody.pw_gid)
        home.chmod(0o755)
        (home / "libvirtd.conf").write_text(_ENOUGH)
        process = subprocess.Popen(
            [LIBVIRTD, "--config", str(home / "libvirtd.conf")],
            user=nobody.pw_uid,
            group=nobody.pw_gid,
            extra_groups=[],
            cwd="/",
            env={
                "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                "HOME": name,
                "XDG_RUNTIME_DIR": name,
                "XDG_CONFIG_HOME": name,
                "XDG_CACHE_HOME": name,
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            uri = f"qemu+unix:///session?socket={home}/libvirt/libvirt-sock"
            yield uri if _answers(uri) else None
        finally:
            process.terminate()
            process.wait(SECONDS)


def _answers(uri: str) -> bool:
    libvirt.registerErrorHandler(lambda *_: None, None)
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        try:
            libvirt.open(uri).close()
        except libvirt.libvirtError:
            time.sleep(0.05)
        else:
            return True
    return False


def default_hypervisor(uri: str | None) -> tuple[str, str]:
    """Give the emulator and the machine of x86 under TCG; made up where there is no libvirtd."""
    if uri is None:
        return "/usr/bin/qemu-system-x86_64", "pc-q35-7.2"
    connection = libvirt.open(uri)
    text = connection.getDomainCapabilities(None, "x86_64", None, "qemu")
    connection.close()
    found = parse_domcaps(text)
    return found.emulator, found.machine


def wait_until_known(guard: Daemon) -> None:
    """Wait until the daemon has kept all that it learns of its host."""
    snapshot = guard.folder / "state" / "snapshot.json"
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if snapshot.exists() and time.time() - snapshot.stat().st_mtime > QUIET_SECONDS:
            return
        time.sleep(0.1)
    raise TimeoutError("the daemon did not get to know its host")


@contextmanager
def in_memory() -> Iterator[Path]:
    """Give a folder on a file system in memory, as a service's below /run is."""
    with tempfile.TemporaryDirectory(prefix="cpu-guardd-bench-", dir="/dev/shm") as name:
        yield Path(name)
