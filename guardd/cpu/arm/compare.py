"""What libvirt's Arm driver answers (spec cpu-other-arches, arm); the rest is for QEMU to say."""

from __future__ import annotations

from collections.abc import Sequence

from guardd.cpu.arm.map import ArmMap
from guardd.cpu.definition import CPUDef, CPUType, FeaturePolicy, Match, Mode
from guardd.cpu.driver import CompareResult, Comparison, Difference, Limits, copy_model
from guardd.errors import UnknownFeature, UnknownHost


def compare(_arm: ArmMap, host: CPUDef, cpu: CPUDef) -> Comparison:
    """Compare two hosts by vendor and model; a guest is UNCHECKED, whatever it asks for.

    libvirt answers "identical" for a guest, and leaves it to QEMU.
    """
    if cpu.type is CPUType.GUEST:
        return Comparison(CompareResult.UNCHECKED)
    if host.model is None:
        return Comparison.incompatible(Difference.UNKNOWN_HOST)
    if cpu.vendor != host.vendor:
        return Comparison.incompatible(Difference.VENDOR, cpu.vendor or "none")
    if cpu.model != host.model:
        return Comparison.incompatible(Difference.MODEL, cpu.model or "none")
    return Comparison(CompareResult.IDENTICAL)


def baseline(_arm: ArmMap, cpus: Sequence[CPUDef], _limits: Limits) -> CPUDef:
    """Give the model of the first of *cpus*: libvirt looks at no other."""
    return CPUDef(model=cpus[0].model)


def update(_arm: ArmMap, guest: CPUDef, host: CPUDef | None, _removed: FeaturePolicy) -> CPUDef:
    """Give *guest* the host's model if its mode is host-model; its own features are lost.

    Raises UnknownHost.
    """
    if guest.mode is not Mode.HOST_MODEL:
        return guest
    if host is None:
        raise UnknownHost("unknown host CPU model")
    return copy_model(guest, host)._replace(mode=Mode.CUSTOM, match=Match.EXACT)


def validate_features(arm: ArmMap, cpu: CPUDef) -> None:
    """Raise UnknownFeature for the first feature of *cpu* that the map lacks."""
    for name in cpu.features:
        if name not in arm.features:
            raise UnknownFeature(f"unknown CPU feature: {name}")
