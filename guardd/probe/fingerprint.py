"""What must stay as it is for a snapshot to stay true, as opaque texts to compare."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from guardd.digest import digest
from guardd.probe import cpu_map

CPU_MAP = "cpu-map"  # its key in a fingerprint

_MICROCODE = re.compile(rb"^microcode\s*:\s*(\S+)", re.MULTILINE)
_CPUINFO_BYTES = 4096  # the first CPU's entry; libvirt looks no further (spec cpu-x86, 7.3)


def read_fingerprint(emulators: Iterable[str], root: Path = Path("/")) -> Mapping[str, str]:
    """Give the state of kernel, microcode, CPU map and each emulator's binary below *root*.

    What cannot be read has the text "": its coming and going is a change as well.
    """
    kernel = os.uname()
    fingerprint = {
        "kernel": f"{kernel.release} {kernel.version}",
        "microcode": _microcode(root / "proc/cpuinfo"),
        CPU_MAP: _folder(root / cpu_map.DIRECTORY.relative_to("/")),
    }
    for emulator in sorted(set(emulators)):
        fingerprint[emulator] = _state(root / emulator.lstrip("/"))
    return MappingProxyType(fingerprint)


def _microcode(cpuinfo: Path) -> str:
    try:
        with cpuinfo.open("rb") as file:
            found = _MICROCODE.search(file.read(_CPUINFO_BYTES))
    except OSError:
        return ""
    return found[1].decode("ascii", "replace") if found else ""


def _folder(path: Path) -> str:
    try:
        with os.scandir(path) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError:
        return ""
    text = "".join(f"{entry.name} {_state(entry)}\n" for entry in entries)
    return digest(text.encode("utf-8", "surrogateescape"))


def _state(path: Path | os.DirEntry[str]) -> str:
    try:
        state = path.stat()
    except (OSError, ValueError):  # no file has a NUL in its name, a broken snapshot's may
        return ""
    # the change time too: a package that is put back keeps the modification time of its build
    return f"{state.st_size} {state.st_mtime_ns} {state.st_ctime_ns}"
