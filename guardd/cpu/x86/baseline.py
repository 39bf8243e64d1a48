"""The x86 CPU that runs on all of several hosts (spec cpu-x86, section 6.2)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from guardd.cpu.definition import CPUDef, Fallback
from guardd.cpu.driver import Limits
from guardd.cpu.x86.compare import all_bits
from guardd.cpu.x86.decode import decode_bits
from guardd.cpu.x86.map import X86Map
from guardd.errors import IncompatibleCPUs, UnknownVendor


def baseline(x86: X86Map, cpus: Sequence[CPUDef], limits: Limits) -> CPUDef:
    """Give the guest CPU with what all *cpus* have in common; each must have a model.

    `limits.preferred` is not looked at: the models of *cpus* are preferred. Raises
    IncompatibleCPUs, UnknownModel, UnknownFeature, UnknownVendor or NoSuitableModel.
    """
    bits = all_bits(x86, cpus[0])
    vendor = cpus[0].vendor
    if vendor is not None and vendor not in x86.vendors:
        raise UnknownVendor(f"Unknown CPU vendor {vendor}")
    # each kind of host once; the first host apart, for libvirt checks less of that one
    cpus = [cpus[0], *_distinct(cpus[1:])]
    for cpu in cpus[1:]:
        common = all_bits(x86, cpu)
        vendor = _common_vendor(x86, vendor, cpu)
        bits &= common
    if limits.features is not None:
        bits &= x86.union(limits.features)
    if not bits:
        raise IncompatibleCPUs("CPUs are incompatible")
    if vendor is not None:
        bits |= x86.vendors[vendor].bits

    names = tuple(dict.fromkeys(cpu.model for cpu in cpus if cpu.model is not None))
    result = decode_bits(x86, CPUDef(), bits, limits._replace(preferred=names))
    is_the_one = names == (result.model,)
    has_vendors = all(cpu.vendor is not None for cpu in cpus)
    return result._replace(
        fallback=Fallback.FORBID if is_the_one else Fallback.ALLOW,
        vendor=result.vendor if has_vendors else None,
    )


def _distinct(cpus: Iterable[CPUDef]) -> Iterable[CPUDef]:
    """Give the first of all *cpus* that are alike in what a baseline looks at."""
    kinds: dict[object, CPUDef] = {}
    for cpu in cpus:
        features = cpu.features
        kinds.setdefault((cpu.model, cpu.vendor, *features, *features.values()), cpu)
    return kinds.values()


def _common_vendor(x86: X86Map, vendor: str | None, cpu: CPUDef) -> str | None:
    """Add *cpu* to those of *vendor* (None: of any so far)."""
    genuine = x86.model(cpu.model).vendor if cpu.model is not None else None
    if cpu.vendor is not None and genuine is not None and cpu.vendor != genuine:
        raise IncompatibleCPUs(
            f"CPU vendor {genuine} of model {cpu.model} differs from vendor {cpu.vendor}"
        )
    own = cpu.vendor or genuine
    if own is None:
        return vendor
    if vendor is None:
        if own not in x86.vendors:
            raise UnknownVendor(f"Unknown CPU vendor {own}")
        return own
    if own != vendor:
        raise IncompatibleCPUs("CPU vendors do not match")
    return vendor
