"""Boots an emulated PowerPC machine, runs `report.py` in it, and gives what that says."""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import os
import re
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import guardd
from guardd.probe.cpu_map import DIRECTORY as CPU_MAP
from tests.powerpc import report
from tests.powerpc.cpio import Archive
from tests.powerpc.image import Image

QEMU = "qemu-system-ppc64"
SECONDS = 120  # a boot takes 10 to 20; twice that beside other work

# TCG has none of the mitigations that a partition has by default, and QEMU refuses without this
_PARTITION = ",cap-cfpc=broken,cap-sbbc=broken,cap-ibs=broken,cap-ccf-assist=off"

_SAID = re.compile(rb"=begin=\r?\n(.*?)=end=([0-9]+)=", re.DOTALL)
_LAST_WORDS = 2000


class MachineError(Exception):
    """A machine that did not come as far as its report, and the last it said."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine of QEMU's and its processor (None: the machine's own)."""

    name: str
    cpu: str | None = None

    @property
    def arguments(self) -> list[str]:
        """What QEMU is given for it."""
        extra = _PARTITION if self.name.startswith("pseries") else ""
        return ["-M", f"{self.name}{extra}", *([] if self.cpu is None else ["-cpu", self.cpu])]


def obstacle(machine: Machine) -> str | None:
    """Say why *machine* cannot be booted here; None: it can."""
    if shutil.which(QEMU) is None:
        return f"{QEMU} is missing"
    if not (CPU_MAP / "index.xml").exists():
        return "libvirt's CPU map is not installed"
    known = subprocess.run([QEMU, "-M", "help"], capture_output=True, check=True, text=True).stdout
    kind = machine.name.split(",")[0]
    if not re.search(rf"^{kind} ", known, re.MULTILINE):
        return f"this QEMU has no machine {kind}"
    return None


def boot(image: Image, machine: Machine, seconds: float = SECONDS) -> dict[str, Any]:
    """Give the report of *machine*; raises MachineError."""
    with tempfile.TemporaryDirectory(prefix="cpu-guardd-powerpc.") as folder:
        initramfs = Path(folder) / "initramfs"
        shutil.copyfile(image.initramfs, initramfs)
        with initramfs.open("ab") as out:
            _add_program(Archive(out))
        command = [
            *[QEMU, "-accel", "tcg", *machine.arguments, "-m", "2G", "-nodefaults"],
            *["-display", "none", "-vga", "none", "-monitor", "none", "-serial", "stdio"],
            *["-no-reboot", "-kernel", str(image.kernel), "-initrd", str(initramfs)],
            *["-append", "console=hvc0 quiet loglevel=3 panic=-1"],
        ]
        console = _run(command, seconds)
    found = _SAID.search(console)
    if found is None:
        raise MachineError(f"{machine} gave no report:\n{_tail(console)}")
    said = _decoded(found[1])
    if found[2] != b"0":
        raise MachineError(f"{machine}: the report failed:\n{_tail(said)}")
    document: dict[str, Any] = json.loads(said)
    return document


def _add_program(archive: Archive) -> None:
    package = Path(guardd.__file__).parent
    for path in sorted(package.rglob("*.py")):
        archive.file(f"opt/guardd/{path.relative_to(package)}", path.read_bytes())
    for path in sorted(CPU_MAP.glob("*.xml")):
        archive.file(str(path).lstrip("/"), path.read_bytes())
    archive.file("opt/report.py", Path(report.__file__).read_bytes())
    archive.finish()


def _run(command: list[str], seconds: float) -> bytes:
    """Give what the console says until the report's end, the machine's, or the time's."""
    console = bytearray()
    end = time.monotonic() + seconds
    with _process(command) as process:
        assert process.stdout is not None
        while (left := end - time.monotonic()) > 0:
            if not select.select([process.stdout], [], [], left)[0]:
                break
            part = os.read(process.stdout.fileno(), 1 << 16)
            console += part
            if not part or _SAID.search(console[-(1 << 20) :]):
                break
    return bytes(console)


@contextlib.contextmanager
def _process(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _decoded(text: bytes) -> bytes:
    try:
        return base64.b64decode(text)
    except binascii.Error:
        return text


def _tail(text: bytes) -> str:
    return text[-_LAST_WORDS:].decode("utf-8", "replace")
