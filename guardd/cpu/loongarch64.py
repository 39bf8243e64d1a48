"""The CPU driver for loongarch64: QEMU decides (spec cpu-other-arches, loongarch64)."""

from __future__ import annotations

from guardd.cpu.definition import CPUDef, FeaturePolicy
from guardd.cpu.driver import CompareResult, Comparison, Driver


def compare(_map: None, _host: CPUDef, _cpu: CPUDef) -> Comparison:
    """Answer UNCHECKED, where libvirt says "identical" of anything."""
    return Comparison(CompareResult.UNCHECKED)


def update(_map: None, guest: CPUDef, _host: CPUDef | None, _removed: FeaturePolicy) -> CPUDef:
    """Give *guest* as it is, even with mode host-model."""
    return guest


DRIVER: Driver[None, None] = Driver(
    name="loongarch64",
    load=lambda _read: None,  # no part of the CPU map is for it
    compare=compare,
    update=update,
)
