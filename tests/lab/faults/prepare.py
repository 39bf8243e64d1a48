"""Hosts made ready for faults, and made as they were."""

import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.lab import guard
from tests.lab.faults.catalogue import BOTH, FAKETIME, IMPOSTOR, PACKAGES, STATE
from tests.lab.host import Host
from tests.lab.process import LabError

# the first version of which guests had stamps; the format of the snapshot is as old as the package
OLD = "36f3c9e"

_PREPARE = f"""
set -e
mkdir -p /run/systemd/system/cpu-guardd.service.d
printf '[Service]\\nWatchdogSec=5\\nTimeoutStopSec=5\\n' \\
    >/run/systemd/system/cpu-guardd.service.d/50-faults.conf
systemctl daemon-reload
systemctl stop {BOTH}
if ! mountpoint -q {STATE}; then
    cp -a {STATE} {STATE}.kept
    mount -t tmpfs -o size=4m tmpfs {STATE}
    cp -aT {STATE}.kept {STATE}
fi
mount -o remount,size=1g /run
systemctl start {BOTH}
"""
_UNDO = f"""
systemctl stop {BOTH} impostor.service crowd.service
rm -f /run/systemd/system/cpu-guardd.service.d/*
systemctl daemon-reload
umount {STATE}; rm -rf {STATE}.kept
systemctl start {guard.JOURNALD}
systemctl reset-failed
systemctl start {BOTH}
"""


@contextmanager
def prepared(host: Host, files: Mapping[str, Path]) -> Iterator[None]:
    """Have *host* ready for all faults, with *files*; make it as it was in the end."""
    host.reset()
    for path, source in files.items():
        host.push(source, path)
    host.shell(_PREPARE)
    try:
        yield
    finally:
        host.shell(_UNDO, check=False)
        guard.configure(host, "")


@contextmanager
def needed(chosen: Sequence[str]) -> Iterator[Mapping[str, Path]]:
    """Give what the *chosen* faults need in a host, by the path there."""
    files = {IMPOSTOR: Path(__file__).with_name("impostor.py")}
    with ExitStack() as stack:
        if "clock jumps" in chosen:
            files[FAKETIME] = stack.enter_context(libfaketime())
        if "upgraded" in chosen:
            files[f"{PACKAGES}/next.deb"] = stack.enter_context(guard.other_package())
        if "downgraded" in chosen:
            files[f"{PACKAGES}/old.deb"] = stack.enter_context(guard.other_package(OLD))
        if {"upgraded", "downgraded"} & set(chosen):
            files[f"{PACKAGES}/this.deb"] = guard.build_package()
        yield files


@contextmanager
def libfaketime() -> Iterator[Path]:
    """Give Debian's libfaketime: the hosts share one clock, and none may set it."""
    with tempfile.TemporaryDirectory() as folder:
        for command in (
            ["apt-get", "download", "--quiet", "libfaketime"],
            ["sh", "-c", "dpkg-deb --extract libfaketime_*.deb ."],
        ):
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=120, check=False
            )
            if done.returncode != 0:
                raise LabError(f"no libfaketime for the clock's faults: {done.stderr.strip()}")
        yield next(Path(folder).glob("usr/lib/*/faketime/libfaketime.so.1"))
