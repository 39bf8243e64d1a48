"""Families of architectures; each has one CPU driver, which is loaded when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import Any

from guardd.cpu.definition import Arch
from guardd.cpu.driver import Driver
from guardd.errors import UnsupportedArch

X86 = frozenset({Arch.I686, Arch.X86_64})
PPC64 = frozenset({Arch.PPC64, Arch.PPC64LE})
ARM = frozenset({Arch.ARMV6L, Arch.ARMV7B, Arch.ARMV7L, Arch.AARCH64})
S390 = frozenset({Arch.S390, Arch.S390X})
RISCV64 = frozenset({Arch.RISCV64})
LOONGARCH64 = frozenset({Arch.LOONGARCH64})

# the module of each that ends in its DRIVER; most hosts and all their guests need one of them
_MODULES = {
    X86: "x86.driver",
    PPC64: "ppc64.driver",
    ARM: "arm.driver",
    S390: "s390x",
    RISCV64: "riscv64",
    LOONGARCH64: "loongarch64",
}


def drivers() -> Iterator[Driver[Any, Any]]:
    """Give all drivers."""
    return map(_driver, _MODULES.values())


@cache
def driver_for(arch: Arch) -> Driver[Any, Any]:
    """Give the driver that serves *arch*; raises UnsupportedArch."""
    for family, module in _MODULES.items():
        if arch in family:
            return _driver(module)
    raise UnsupportedArch(f"'{arch}' architecture is not supported by CPU driver")


def same_family(one: Arch, other: Arch) -> bool:
    """Whether one driver serves both, so that their CPUs can be compared."""
    return one == other or any({one, other} <= family for family in _MODULES)


def _driver(module: str) -> Driver[Any, Any]:
    driver: Driver[Any, Any] = import_module(f"guardd.cpu.{module}").DRIVER
    return driver
