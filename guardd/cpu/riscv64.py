"""The CPU driver for riscv64: QEMU decides (spec cpu-other-arches, riscv64)."""

from __future__ import annotations

from guardd.cpu.definition import CPUDef, FeaturePolicy, Match, Mode
from guardd.cpu.driver import CompareResult, Comparison, Driver, copy_model
from guardd.errors import UnknownHost


def compare(_map: None, _host: CPUDef, _cpu: CPUDef) -> Comparison:
    """Answer UNCHECKED, where libvirt says "identical" of anything."""
    return Comparison(CompareResult.UNCHECKED)


def update(_map: None, guest: CPUDef, host: CPUDef | None, _removed: FeaturePolicy) -> CPUDef:
    """Give *guest* the host's model if its mode is host-model; its own features are lost.

    Raises UnknownHost.
    """
    if guest.mode is not Mode.HOST_MODEL:
        return guest
    if host is None:
        raise UnknownHost("unknown host CPU model")
    return copy_model(guest, host)._replace(mode=Mode.CUSTOM, match=Match.EXACT)


DRIVER: Driver[None, None] = Driver(
    name="riscv64",
    load=lambda _read: None,  # no part of the CPU map is for it
    compare=compare,
    update=update,
)
