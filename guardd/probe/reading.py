"""What a reading of a host's processors is: where it comes from, what it says, unlike cores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from guardd.cpu.arm.host import ArmHost
from guardd.cpu.definition import TSC, Arch, CPUDef
from guardd.cpu.x86.data import CPUData
from guardd.errors import GuardError


class Source(StrEnum):
    """Who said what the host's CPU is, the most exact first in each family."""

    CPUID = "cpuid"  # x86: the CPUID instruction, on each core
    KVM = "kvm"  # x86: what KVM can give a guest
    CPUINFO = "cpuinfo"  # x86, PowerPC: what the kernel shows of it
    MFPVR = "mfpvr"  # PowerPC: the processor version register itself
    MIDR = "midr"  # aarch64: MIDR_EL1 of each core


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreKind:
    """Cores of one kind on a host that has several kinds.

    `cpus`: their numbers, as in /proc/cpuinfo. `name`: what sets their kind apart, where it says
    so itself. `features`: those that not all of the host's cores have and these do, in map order.
    """

    cpus: tuple[int, ...]
    name: str
    features: tuple[str, ...] = ()


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


def group_cores(names: Mapping[int, tuple[str, tuple[str, ...]]]) -> tuple[CoreKind, ...]:
    """Give the kinds of cores, in order of their first CPU; empty where all are of one kind.

    *names* maps each CPU number to name and features, as `CoreKind` has them.
    """
    kinds: dict[tuple[str, tuple[str, ...]], list[int]] = {}
    for cpu in sorted(names):
        kinds.setdefault(names[cpu], []).append(cpu)
    if len(kinds) < 2:  # noqa: PLR2004 (one kind is none)
        return ()
    return tuple(
        CoreKind(cpus=tuple(cpus), name=name, features=features)
        for (name, features), cpus in kinds.items()
    )


def said(exc: GuardError) -> str:
    """Give an error as a note, with what would help."""
    return f"{exc} ({exc.hint})" if exc.hint else str(exc)
