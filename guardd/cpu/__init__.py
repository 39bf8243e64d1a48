"""The CPU drivers: what libvirt's would say of a host and a CPU, without libvirt.

Pure but for the map: `load_map` is given a function that reads its files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from guardd.cpu import ppc64, x86
from guardd.cpu.definition import Arch, CPUDef
from guardd.cpu.driver import Comparison, Driver
from guardd.cpu.map import ReadFile
from guardd.errors import BrokenMap, UnsupportedArch

__all__ = [
    "DRIVERS",
    "CPUMap",
    "asks_qemu",
    "compare",
    "compat_check",
    "convert_legacy",
    "driver_for",
    "features",
    "has_features",
    "load_map",
    "models",
    "non_migratable",
    "same_family",
]

DRIVERS: tuple[Driver[Any], ...] = (x86.DRIVER, ppc64.DRIVER)


@dataclass(frozen=True, slots=True)
class CPUMap:
    """Each driver's part of the CPU map by the driver's name, or why it could not be read."""

    parts: Mapping[str, object]

    def part(self, driver: Driver[Any]) -> Any:  # noqa: ANN401 (each driver has its own)
        """Give what *driver* loaded; raises the BrokenMap of that load, each time anew."""
        part = self.parts[driver.name]
        if isinstance(part, BrokenMap):
            raise BrokenMap(str(part))
        return part


def load_map(read: ReadFile) -> CPUMap:
    """Load every driver's part; *read* takes a file name in the map's folder and gives bytes.

    A part that is broken is remembered as such and does not touch the others.
    """
    parts: dict[str, object] = {}
    for driver in DRIVERS:
        try:
            parts[driver.name] = driver.load(read)
        except BrokenMap as exc:
            parts[driver.name] = exc
    return CPUMap(parts)


def driver_for(arch: Arch) -> Driver[Any]:
    """Give the driver that serves *arch*; raises UnsupportedArch."""
    for driver in DRIVERS:
        if arch in driver.archs:
            return driver
    raise UnsupportedArch(f"'{arch}' architecture is not supported by CPU driver")


def same_family(one: Arch, other: Arch) -> bool:
    """Whether one driver serves both, so that their CPUs can be compared."""
    return one == other or any({one, other} <= driver.archs for driver in DRIVERS)


def compare(cpu_map: CPUMap, arch: Arch, host: CPUDef, cpu: CPUDef) -> Comparison:
    """Hold *cpu* against *host*, both of *arch*'s family.

    Raises UnsupportedArch, BrokenMap, and what the driver's own compare raises for an unknown
    model, feature or compatibility mode.
    """
    driver = driver_for(arch)
    if driver.compare is None:
        raise UnsupportedArch(f"cannot compare CPUs of {arch} architecture")
    return driver.compare(cpu_map.part(driver), host, cpu)


def has_features(arch: Arch) -> bool:
    """Whether CPU models of *arch* are made of features; raises UnsupportedArch."""
    return driver_for(arch).features is not None


def features(cpu_map: CPUMap, arch: Arch, cpu: CPUDef) -> frozenset[str]:
    """Name all features of *cpu*, its model's included; empty where models have none.

    Raises UnsupportedArch, BrokenMap, UnknownModel or UnknownFeature.
    """
    driver = driver_for(arch)
    if driver.features is None:
        return frozenset()
    return driver.features(cpu_map.part(driver), cpu)


def non_migratable(cpu_map: CPUMap, arch: Arch) -> frozenset[str]:
    """Name the features that keep a guest from migrating; raises UnsupportedArch or BrokenMap."""
    driver = driver_for(arch)
    if driver.non_migratable is None:
        return frozenset()
    return driver.non_migratable(cpu_map.part(driver))


def asks_qemu(cpu_map: CPUMap, arch: Arch) -> bool:
    """Whether this map's libvirt lets a usable model pass check='partial' by QEMU's word alone.

    Raises UnsupportedArch or BrokenMap.
    """
    driver = driver_for(arch)
    return driver.asks_qemu is not None and driver.asks_qemu(cpu_map.part(driver))


def compat_check(cpu_map: CPUMap, arch: Arch, model: str) -> bool:
    """Whether libvirt's check='partial' of *model* is a comparison, not a question to QEMU.

    Raises UnsupportedArch, BrokenMap or UnknownModel.
    """
    driver = driver_for(arch)
    if driver.compat_check is None:
        return True  # libvirt: an architecture without this function compares
    return driver.compat_check(cpu_map.part(driver), model)


def models(cpu_map: CPUMap, arch: Arch) -> tuple[str, ...]:
    """Name all models of *arch* in map order; raises UnsupportedArch or BrokenMap."""
    driver = driver_for(arch)
    return driver.models(cpu_map.part(driver)) if driver.models else ()


def convert_legacy(arch: Arch, cpu: CPUDef) -> CPUDef:
    """Give *cpu* with its model's present name, where libvirt renamed it."""
    driver = driver_for(arch)
    return driver.convert_legacy(cpu) if driver.convert_legacy else cpu
