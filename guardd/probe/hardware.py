"""The host's own processors, read without libvirt; one entry point for every architecture."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from guardd.cpu import CPUMap
from guardd.cpu.arm.host import ArmHost
from guardd.cpu.definition import TSC, Arch, CPUDef
from guardd.cpu.x86.data import CPUData
from guardd.errors import UnreadableHardware, UnsupportedArch
from guardd.probe.reading import CoreKind, Source

__all__ = ["CoreKind", "Hardware", "Source", "read_hardware", "read_hypervisor_cpu"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """What the host's silicon says of itself.

    `cpu`: a host's definition as libvirt's capabilities have it, less its topology; None where
    the CPU could not be read or is no model of the CPU map, and then `notes` say why.
    `source`: where `cpu` was read; None: nowhere. `data`: what `guardd.cpu.decode` made it of:
    CPUID and MSRs on x86, the PVR on PowerPC. `microcode`, `phys_bits`, `tsc`: x86; None: not
    known. `cores`: the kinds of cores where not all are alike, and `cpu` then has what all of them
    have. `compat`: the compatibility mode of a PowerPC host that runs as an older generation;
    `cpu` is still the real one. `revision`: a PowerPC host's exact model, as with PVRMatch.EXACT.
    `arm`: what tells whether another aarch64 host can take a guest of this one. `notes`: whole
    sentences on what could not be read or is to be known beside the rest.
    """

    arch: Arch
    cpu: CPUDef | None = None
    source: Source | None = None
    data: CPUData | int | None = None
    microcode: int | None = None
    phys_bits: int | None = None
    tsc: TSC | None = None
    cores: tuple[CoreKind, ...] = ()
    compat: str | None = None
    revision: str | None = None
    arm: ArmHost | None = None
    notes: tuple[str, ...] = ()


def read_hardware(
    cpu_map: CPUMap, root: Path = Path("/"), *, machine: str | None = None
) -> Hardware:
    """Read the processors of the host whose /proc, /sys and /dev are below *root*.

    *machine* is what uname calls the architecture; None: ask it. What cannot be read is in the
    notes. Raises BrokenMap, and UnsupportedArch for a machine that libvirt does not know.
    """
    del root, cpu_map
    arch = _arch(machine or os.uname().machine)
    return Hardware(arch=arch, notes=(f"the CPU of {arch} hosts cannot be read",))


def read_hypervisor_cpu(cpu_map: CPUMap, root: Path = Path("/")) -> CPUDef:
    """Give what KVM can give a guest on this host, as a guest's definition; without libvirt.

    Raises UnreadableHardware where KVM does not answer, UnsupportedArch where KVM's answer is not
    made of features (all but x86), BrokenMap and NoSuitableModel.
    """
    del root, cpu_map
    raise UnreadableHardware("cannot read what KVM supports")


def _arch(machine: str) -> Arch:
    if machine in ("i386", "i486", "i586"):
        return Arch.I686  # libvirt knows them by that name
    try:
        return Arch(machine)
    except ValueError:
        raise UnsupportedArch(f"'{machine}' is no architecture that libvirt knows") from None
