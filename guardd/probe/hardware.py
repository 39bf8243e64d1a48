"""The host's own processors, read without libvirt; one entry point for every architecture."""

from __future__ import annotations

import os
from pathlib import Path

from guardd.cpu import CPUMap
from guardd.cpu.definition import Arch, CPUDef
from guardd.errors import UnsupportedArch
from guardd.probe import arm, mfpvr, ppc64, x86
from guardd.probe.reading import CoreKind, Hardware, Source

__all__ = ["CoreKind", "Hardware", "Source", "read_hardware", "read_hypervisor_cpu"]


def read_hardware(
    cpu_map: CPUMap, root: Path = Path("/"), *, machine: str | None = None
) -> Hardware:
    """Read the processors of the host whose /proc, /sys and /dev are below *root*.

    *machine* is what uname calls the architecture; None: ask it. What cannot be read is in the
    notes. Raises BrokenMap, and UnsupportedArch for a machine that libvirt does not know.
    """
    arch = _arch(machine or os.uname().machine)
    match arch:
        case Arch.X86_64 | Arch.I686:
            return x86.read_host(cpu_map, arch, root)
        case Arch.PPC64 | Arch.PPC64LE:
            # the instruction tells of this machine, a root elsewhere of another
            read_pvr = mfpvr.read_pvr if root == Path("/") else None
            return ppc64.read_host(cpu_map, arch, root, read_pvr)
        case Arch.AARCH64:
            return arm.read_host(cpu_map, arch, root)
        case _:
            return Hardware(arch=arch, notes=(f"the CPU of {arch} hosts cannot be read",))


def read_hypervisor_cpu(
    cpu_map: CPUMap, root: Path = Path("/"), *, machine: str | None = None
) -> CPUDef:
    """Give what KVM can give a guest on this host, as a guest's definition; without libvirt.

    Raises UnreadableHardware where KVM does not answer, UnsupportedArch where KVM's answer is not
    made of features (all but x86), BrokenMap and NoSuitableModel.
    """
    arch = _arch(machine or os.uname().machine)
    if arch not in (Arch.X86_64, Arch.I686):
        raise UnsupportedArch(f"KVM does not name the CPU features that it supports on {arch}")
    return x86.read_hypervisor(cpu_map, root)


def _arch(machine: str) -> Arch:
    if machine in ("i386", "i486", "i586"):
        return Arch.I686  # libvirt knows them by that name
    try:
        return Arch(machine)
    except ValueError:
        raise UnsupportedArch(f"'{machine}' is no architecture that libvirt knows") from None
