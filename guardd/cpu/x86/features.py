"""What features an x86 CPU has, all written out or as CPU data (spec cpu-x86, section 6)."""

from __future__ import annotations

from types import MappingProxyType

from guardd.cpu.attributes import UINT_MAX
from guardd.cpu.definition import CPUDef, CPUType, FeaturePolicy
from guardd.cpu.driver import Encoded
from guardd.cpu.x86.compare import all_bits, asked_bits
from guardd.cpu.x86.data import CPUData
from guardd.cpu.x86.map import X86Map
from guardd.errors import NoModel, UnknownFeature, UnknownModel, UnknownVendor

# the CPUID feature without which an MSR is not there (Intel SDM vol. 4, table 2-2)
MSR_ENUMERATED_BY = {
    0xCF: "core-capability",
    0x10A: "arch-capabilities",
    **dict.fromkeys(range(0x480, 0x492), "vmx"),
}

_NAMED = frozenset({FeaturePolicy.REQUIRE, FeaturePolicy.DISABLE})


def features(x86: X86Map, cpu: CPUDef) -> frozenset[str]:
    """Name all features that *cpu* has; raises UnknownModel or UnknownFeature."""
    return frozenset(x86.names(all_bits(x86, cpu)))


def hidden_features(x86: X86Map, cpu: CPUDef) -> frozenset[str]:
    """Name the features that *cpu* could only read from an MSR that it does not have.

    Raises UnknownModel or UnknownFeature.
    """
    bits = all_bits(x86, cpu)
    absent = {
        index
        for index, name in MSR_ENUMERATED_BY.items()
        if name not in x86.features or not x86.features[name].bits & bits
    }
    hidden = 0
    for register, position in x86.positions.items():
        if register.source == "msr" and register.leaf in absent:
            hidden |= UINT_MAX << position
    return frozenset(x86.names(bits & hidden))


def expand(x86: X86Map, cpu: CPUDef) -> CPUDef:
    """Give *cpu* with the features of its model written out (section 6.6).

    A guest's force, optional and forbid entries are lost. Raises NoModel or UnknownModel.
    """
    if cpu.model is None:
        raise NoModel("no CPU model specified")
    model = x86.models.get(cpu.model)
    if model is None:
        raise UnknownModel(f"unknown CPU model {cpu.model}")
    is_guest = cpu.type is CPUType.GUEST
    listed = dict.fromkeys(x86.take(model.bits), FeaturePolicy.REQUIRE if is_guest else None)
    listed |= {
        name: policy for name, policy in cpu.features.items() if not is_guest or policy in _NAMED
    }
    if is_guest:
        for name in model.removed:
            listed.setdefault(name, FeaturePolicy.DISABLE)
    return cpu._replace(features=MappingProxyType(listed))


def encode(x86: X86Map, cpu: CPUDef) -> Encoded[CPUData]:
    """Give the CPU data of *cpu*, policy by policy (section 6.1).

    Raises NoModel, UnknownModel, UnknownFeature or UnknownVendor.
    """
    if cpu.model is None:
        raise NoModel("no guest CPU model specified")
    force, require, optional, disable, forbid = map(x86.data, asked_bits(x86, cpu))
    vendor = CPUData()
    if cpu.vendor is not None:
        if cpu.vendor not in x86.vendors:
            raise UnknownVendor(f"CPU vendor {cpu.vendor} not found")
        vendor = x86.data(x86.vendors[cpu.vendor].bits)
    return Encoded(force, require, optional, disable, forbid, vendor)


def has_feature(x86: X86Map, cpu: CPUDef, name: str) -> bool:
    """Whether *cpu* has the feature *name*, by itself or by its model (section 6.9).

    Internal features can be asked for. Raises UnknownModel or UnknownFeature.
    """
    given = all_bits(x86, cpu)
    bits = x86.any_feature(name).bits
    return given & bits == bits


def data_has_feature(x86: X86Map, data: CPUData, name: str) -> bool:
    """Whether *data* has the feature *name*, internal ones included; raises UnknownFeature."""
    bits = x86.any_feature(name).bits
    return x86.bits(data) & bits == bits


def validate_features(x86: X86Map, cpu: CPUDef) -> None:
    """Raise UnknownFeature for the first feature of *cpu* that the map lacks (section 6.8)."""
    for name in cpu.features:
        if name not in x86.features:
            raise UnknownFeature(f"unknown CPU feature: {name}")


def non_migratable(x86: X86Map) -> frozenset[str]:
    """Name the features that keep a guest from migrating."""
    return frozenset(feature.name for feature in x86.features.values() if not feature.migratable)


def vendor_for_model(x86: X86Map, name: str) -> str | None:
    """Give the vendor of the model called *name*, if it has one and is known."""
    model = x86.models.get(name)
    return None if model is None else model.vendor
