"""What every reading of a host's processors has: where it comes from, and cores that differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


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
