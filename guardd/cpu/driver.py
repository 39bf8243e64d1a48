"""The shape of a CPU driver, and of what a comparison answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from guardd.cpu.definition import Arch, CPUDef
from guardd.cpu.map import ReadFile

Map = TypeVar("Map")


class CompareResult(StrEnum):
    """How a host stands to a CPU; superset: the *host* has more (spec cpu-x86, section 4)."""

    INCOMPATIBLE = "incompatible"
    IDENTICAL = "identical"
    SUPERSET = "superset"
    # ours: libvirt says "identical" where it means that QEMU will decide
    UNCHECKED = "unchecked"


class Difference(StrEnum):
    """What can stand between a host and a CPU."""

    UNKNOWN_HOST = "unknown-host-cpu"
    ARCH = "arch-mismatch"
    VENDOR = "vendor-mismatch"
    MODEL = "model-mismatch"
    COMPAT = "compat-mode"
    MISSING = "missing-feature"
    FORBIDDEN = "forbidden-feature"
    EXTRA = "extra-feature"


@dataclass(frozen=True, slots=True)
class Comparison:
    """The result and, when it is incompatible, why: one kind of difference and its names.

    `subjects` are feature names in map order, or the one vendor, arch, model or compatibility
    mode that the CPU asks for.
    """

    result: CompareResult
    difference: Difference | None = None
    subjects: tuple[str, ...] = ()

    @classmethod
    def incompatible(cls, difference: Difference, *subjects: str) -> Comparison:
        """Say no, for *difference* in *subjects*."""
        return cls(CompareResult.INCOMPATIBLE, difference, subjects)


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver(Generic[Map]):
    """One architecture family: its map, and the operations it has (None: it cannot).

    `load` builds the family's part of the CPU map. `compare` takes (map, host, cpu). `features`
    takes (map, cpu) and gives the names of all features the CPU has, those of its model included.
    `asks_qemu` takes (map) and says whether its libvirt lets check='partial' pass by QEMU's word.
    `compat_check` takes (map, model name) and says whether libvirt's check='partial' is a
    comparison for that model, and not a question to QEMU. `updates_live`: libvirt replaces the
    CPU of a guest that has started by what QEMU really gave it, with check='full'.
    """

    name: str
    archs: frozenset[Arch]
    load: Callable[[ReadFile], Map]
    compare: Callable[[Map, CPUDef, CPUDef], Comparison] | None = None
    features: Callable[[Map, CPUDef], frozenset[str]] | None = None
    models: Callable[[Map], tuple[str, ...]] | None = None
    non_migratable: Callable[[Map], frozenset[str]] | None = None
    asks_qemu: Callable[[Map], bool] | None = None
    compat_check: Callable[[Map, str], bool] | None = None
    updates_live: bool = False
    convert_legacy: Callable[[CPUDef], CPUDef] | None = None
