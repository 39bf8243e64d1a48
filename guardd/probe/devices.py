"""The kernel's devices and files, opened so that nothing blocks and every failure has a name."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from guardd.errors import UnreadableHardware

# of a file below /proc or /sys: /proc/cpuinfo of 2048 x86 processors has some 4 MiB
MAX_FILE = 16 << 20
MAX_CPUS = 1 << 16  # Linux is built for 8192 at most


class Hint(NamedTuple):
    """What helps where a device is not there, and where it is not for us."""

    missing: str
    forbidden: str


@contextmanager
def opened(path: Path, flags: int, hint: Hint | None = None) -> Iterator[int]:
    """Open *path* without waiting for anybody; raises UnreadableHardware, with *hint*."""
    try:
        # O_NONBLOCK: a pipe in the place of a device must not hold us up
        descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as exc:
        raise unreadable(path, exc, hint) from exc
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def read_file(path: Path, limit: int = MAX_FILE) -> bytes:
    """Read at most *limit* bytes of *path*; raises UnreadableHardware."""
    with opened(path, os.O_RDONLY) as descriptor:
        parts = []
        try:
            while limit > 0 and (part := os.read(descriptor, min(limit, 1 << 20))):
                parts.append(part)
                limit -= len(part)
        except OSError as exc:
            raise unreadable(path, exc) from exc
    return b"".join(parts)


def read_text(path: Path, limit: int = MAX_FILE) -> str:
    """Read *path* as text, whatever bytes it holds; raises UnreadableHardware."""
    return read_file(path, limit).decode("utf-8", "replace")


def unreadable(path: Path, exc: OSError, hint: Hint | None = None) -> UnreadableHardware:
    """Give the error for *exc* on *path*, with what helps where that is known."""
    helps = ""
    if hint is not None and exc.errno in (errno.ENOENT, errno.ENXIO, errno.ENODEV):
        helps = hint.missing
    elif hint is not None and exc.errno in (errno.EACCES, errno.EPERM):
        helps = hint.forbidden
    return UnreadableHardware(f"cannot read {path}: {exc.strerror or exc}", hint=helps)


def parse_cpu_list(text: str) -> tuple[int, ...]:
    """Read the kernel's list of CPUs, "0-3,8"; raises UnreadableHardware."""
    cpus: list[int] = []
    for part in text.strip().split(","):
        first, dash, last = part.partition("-")
        try:
            low, high = int(first), int(last if dash else first)
        except ValueError:
            raise UnreadableHardware(f"{text.strip()[:40]!r} is no list of CPUs") from None
        if not 0 <= low <= high < MAX_CPUS:
            raise UnreadableHardware(f"{part!r} is no range of CPUs")
        cpus.extend(range(low, high + 1))
    return tuple(cpus)


def online_cpus(root: Path) -> tuple[int, ...]:
    """Number the CPUs that are online; raises UnreadableHardware."""
    return parse_cpu_list(read_text(root / "sys/devices/system/cpu/online", 1 << 16))
