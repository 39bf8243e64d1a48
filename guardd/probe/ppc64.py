"""The processors of a PowerPC host: the PVR, and the mode the host itself runs in.

In a partition (pseries) the kernel runs in an architected mode, and /proc/cpuinfo's `cpu` line and
the device tree's cpu-version speak of that: a POWER9 in POWER8 mode shows "POWER8" and a logical
PVR there. Only the register and the `revision` line tell the real processor, and that one is what
libvirt decodes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from guardd import cpu
from guardd.cpu import CPUMap, PVRMatch
from guardd.cpu.definition import Arch, CPUDef, CPUType
from guardd.errors import GuardError, NoSuitableModel, UnreadableHardware
from guardd.probe.cpuinfo import CPUInfo, read_cpuinfo
from guardd.probe.devices import read_file
from guardd.probe.reading import CoreKind, Hardware, Source, group_cores, said

# gives the PVR of the core it runs on; raises UnreadableHardware
ReadPVR = Callable[[], int]

DEVICE_TREE_CPUS = Path("proc/device-tree/cpus")

# the revision line: 2.0 (pvr 004e 1200)
_REVISION = re.compile(r"\(pvr ([0-9a-f]{4}) ([0-9a-f]{4})\)")
# the cpu line in a partition: POWER8 (architected), altivec supported
_ARCHITECTED = re.compile(r"POWER([0-9]{1,2})\+? \(architected\)")
_GENERATION = re.compile(r"POWER([0-9]{1,2})")

# PVRs that firmware gives for a mode (PAPR; Linux, arch/powerpc/include/asm/reg.h: PVR_ARCH_204...)
_LOGICAL = 0x0F
_LOGICAL_MODES = {
    0x0F000002: "power6",  # ISA 2.05
    0x0F000003: "power7",  # 2.06
    0x0F100003: "power7",  # 2.06 plus
    0x0F000004: "power8",  # 2.07
    0x0F000005: "power9",  # 3.0
    0x0F000006: "power10",  # 3.1
    0x0F000007: "power11",  # 3.1, of Power11
}
_PVR_BYTES = 4
_PARTITION = "pSeries"


def read_host(cpu_map: CPUMap, arch: Arch, root: Path, read_pvr: ReadPVR | None) -> Hardware:
    """Read the host below *root*; what cannot be read is in the notes. Raises BrokenMap.

    *read_pvr* asks the register; None: *root* is not this machine.
    """
    notes: list[str] = []
    info = CPUInfo({}, {})
    try:
        info = read_cpuinfo(root)
    except UnreadableHardware as exc:
        notes.append(said(exc))
    shown = {n: pvr for n, lines in info.processors.items() if (pvr := _pvr(lines)) is not None}
    found = _find_pvr(read_pvr, shown, notes)
    if found is None:
        return Hardware(arch=arch, notes=tuple(notes))
    source, pvr = found
    if info.machine.get("platform") == _PARTITION:
        notes.append(f"this host is a partition or a guest itself (platform {_PARTITION})")
    hardware = Hardware(arch=arch, source=source, data=pvr, cores=_cores(shown))
    return _named(cpu_map, hardware, pvr, _mode(root, info, notes), notes)


def _find_pvr(
    read_pvr: ReadPVR | None, shown: Mapping[int, int], notes: list[str]
) -> tuple[Source, int] | None:
    """Give the register's value, else the first that the kernel shows."""
    if read_pvr is not None:
        try:
            pvr = read_pvr()
        except UnreadableHardware as exc:
            notes.append(said(exc))
        else:
            if pvr not in shown.values():
                notes.append(f"/proc/cpuinfo does not show the PVR 0x{pvr:08x} that was read")
            return Source.MFPVR, pvr
    for pvr in shown.values():
        return Source.CPUINFO, pvr
    notes.append("/proc/cpuinfo shows no PVR of a PowerPC processor")
    return None


def _named(
    cpu_map: CPUMap, hardware: Hardware, pvr: int, mode: str | None, notes: list[str]
) -> Hardware:
    """Give *hardware* the models that *pvr* is, and the mode where it is an older one's."""
    stub = CPUDef(type=CPUType.HOST, arch=hardware.arch)
    try:
        exact = cpu.match_pvr(cpu_map, PVRMatch.EXACT)
        hardware = replace(hardware, revision=cpu.decode(exact, hardware.arch, stub, pvr).model)
        hardware = replace(hardware, cpu=cpu.decode(cpu_map, hardware.arch, stub, pvr))
    except NoSuitableModel as exc:
        notes.append(said(exc))
    real = _GENERATION.match(hardware.revision or "")
    if mode is not None and real is not None and mode != f"power{real[1]}":
        notes.append(f"this host runs in compatibility mode {mode}, its processor is newer")
        hardware = replace(hardware, compat=mode)
    return replace(hardware, notes=tuple(notes))


def _mode(root: Path, info: CPUInfo, notes: list[str]) -> str | None:
    """Name the architected mode that the host runs in; None: none, or not known."""
    for path in sorted((root / DEVICE_TREE_CPUS).glob("*/cpu-version")):
        try:
            value = read_file(path, _PVR_BYTES + 1)
        except GuardError as exc:
            notes.append(said(exc))
            continue
        version = int.from_bytes(value, "big")  # the device tree's order on every host
        if len(value) != _PVR_BYTES or version >> 24 != _LOGICAL:
            return None  # bare metal shows the real PVR
        if version not in _LOGICAL_MODES:
            notes.append(f"the mode with the logical PVR 0x{version:08x} is not known")
        return _LOGICAL_MODES.get(version)
    found = _ARCHITECTED.match(info.first.get("cpu", ""))
    return f"power{found[1]}" if found else None


def _pvr(lines: Mapping[str, str]) -> int | None:
    found = _REVISION.search(lines.get("revision", ""))
    return int(found[1] + found[2], 16) if found else None


def _cores(shown: Mapping[int, int]) -> tuple[CoreKind, ...]:
    return group_cores({n: (f"PVR 0x{pvr:08x}", ()) for n, pvr in shown.items()})
