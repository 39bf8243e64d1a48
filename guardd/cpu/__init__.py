"""The CPU drivers: what libvirt's would say of a host and a CPU, without libvirt.

Pure but for the map: a CPUMap is given a function that reads its files.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import MappingProxyType
from typing import Any

from guardd.cpu.definition import Arch, CPUDef, Fallback, FeaturePolicy, Mode
from guardd.cpu.driver import (
    NO_LIMITS,
    Comparison,
    Encoded,
    HypervisorModels,
    Limits,
    LiveData,
)
from guardd.cpu.families import driver_for, drivers, same_family
from guardd.cpu.parts import CPUMap, match_pvr
from guardd.cpu.ppc64 import PVRMatch
from guardd.errors import (
    InvalidCPU,
    InvalidCPUData,
    NoModel,
    UnknownFeature,
    UnsupportedArch,
    UnsupportedModel,
)
from guardd.xmldoc import read_xml

__all__ = [
    "CPUMap",
    "Limits",
    "LiveData",
    "PVRMatch",
    "asks_qemu",
    "baseline",
    "compare",
    "compat_check",
    "convert_legacy",
    "copy_migratable",
    "data_has_feature",
    "decode",
    "driver_for",
    "encode",
    "expand",
    "features",
    "format_cpu_data",
    "has_feature",
    "has_features",
    "hidden_features",
    "match_pvr",
    "models",
    "non_migratable",
    "parse_cpu_data",
    "same_family",
    "translate",
    "unknown_features",
    "update",
    "update_live",
    "validate_features",
    "vendor_for_model",
]

# the modes in which QEMU gives what it has, whatever the host's CPU is called
_OPEN_MODES = (Mode.HOST_PASSTHROUGH, Mode.MAXIMUM)


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


def hidden_features(cpu_map: CPUMap, arch: Arch, cpu: CPUDef) -> frozenset[str]:
    """Name the features of *cpu* that it has no way to see: nothing can depend on them.

    Raises UnsupportedArch, BrokenMap, UnknownModel or UnknownFeature.
    """
    driver = driver_for(arch)
    if driver.hidden_features is None:
        return frozenset()
    return driver.hidden_features(cpu_map.part(driver), cpu)


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


def decode(
    cpu_map: CPUMap,
    arch: Arch,
    stub: CPUDef,
    data: object,
    limits: Limits = NO_LIMITS,
) -> CPUDef:
    """Give *stub*, a host or a guest of mode custom, the model that *data* is of.

    Raises InvalidCPU, UnsupportedArch, BrokenMap, NoSuitableModel or UnsupportedModel.
    """
    if stub.mode is not Mode.CUSTOM:
        raise InvalidCPU("invalid CPU definition stub")
    driver = driver_for(arch)
    if driver.decode is None:
        raise UnsupportedArch(f"cannot decode CPU data for {arch} architecture")
    return driver.decode(cpu_map.part(driver), stub, data, limits)


def encode(cpu_map: CPUMap, arch: Arch, cpu: CPUDef) -> Encoded[Any]:
    """Give the CPU data of *cpu* by policy.

    Raises UnsupportedArch, BrokenMap, NoModel, UnknownModel, UnknownFeature or UnknownVendor.
    """
    driver = driver_for(arch)
    if driver.encode is None:
        raise UnsupportedArch(f"cannot encode CPU data for {arch} architecture")
    return driver.encode(cpu_map.part(driver), cpu)


def parse_cpu_data(text: str | bytes) -> Any:  # noqa: ANN401 (each driver has its own)
    """Read <cpudata> text; its arch attribute names the driver.

    Raises MalformedXML, InvalidCPUData or UnsupportedArch.
    """
    root = read_xml(text, what="CPU data")
    name = root.get("arch")
    if name is None:
        raise InvalidCPUData("missing CPU data architecture")
    for driver in drivers():
        if driver.name == name:
            if driver.parse_data is None:
                raise UnsupportedArch(f"cannot parse {name} CPU data")
            return driver.parse_data(root)
    raise InvalidCPUData(f"CPU driver '{name}' does not exist")


def format_cpu_data(arch: Arch, data: object) -> str:
    """Write *data* as libvirt does, without a final newline; raises UnsupportedArch."""
    driver = driver_for(arch)
    if driver.format_data is None:
        raise UnsupportedArch(f"cannot format {driver.name} CPU data")
    return driver.format_data(data)


def baseline(
    cpu_map: CPUMap, arch: Arch | None, cpus: Sequence[CPUDef], limits: Limits = NO_LIMITS
) -> CPUDef:
    """Give the guest CPU that runs on all of *cpus*; arch None: that of the first.

    Raises InvalidCPU, NoModel, UnsupportedArch, BrokenMap, IncompatibleCPUs, and what the driver
    raises for an unknown model, feature or vendor.
    """
    if not cpus:
        raise InvalidCPU("no CPUs given")
    for index, cpu in enumerate(cpus):
        if cpu.model is None:
            raise NoModel(f"no CPU model specified at index {index}")
    arch = arch or cpus[0].arch
    if arch is None:
        raise UnsupportedArch("'none' architecture is not supported by CPU driver")
    driver = driver_for(arch)
    if driver.baseline is None:
        raise UnsupportedArch(f"cannot compute baseline CPU of {arch} architecture")
    return driver.baseline(cpu_map.part(driver), cpus, limits)


def update(
    cpu_map: CPUMap,
    arch: Arch,
    guest: CPUDef,
    host: CPUDef | None,
    removed_policy: FeaturePolicy = FeaturePolicy.DISABLE,
) -> CPUDef:
    """Give *guest* as libvirt starts it on *host*: what depends on the host is written out.

    *removed_policy*: of features that QEMU took out of the guest's model and the guest does not
    mention; libvirt 9.0.0 always disables them, 11.3.0 requires them for a guest that arrives.
    Raises UnsupportedArch, BrokenMap, UnknownHost, and what the driver raises.
    """
    driver = driver_for(arch)
    if guest.mode in _OPEN_MODES:
        return guest
    if driver.update is None:
        raise UnsupportedArch(f"cannot update guest CPU for {arch} architecture")
    return driver.update(cpu_map.part(driver), guest, host, removed_policy)


def update_live(cpu_map: CPUMap, arch: Arch, cpu: CPUDef, live: LiveData[Any]) -> CPUDef | None:
    """Give *cpu* as QEMU really made it; None: libvirt leaves such a definition alone.

    Raises UnsupportedArch, BrokenMap, SpecificationMismatch, InvalidCPUData, UnknownModel or
    UnknownFeature.
    """
    driver = driver_for(arch)
    if driver.update_live is None:
        return None
    return driver.update_live(cpu_map.part(driver), cpu, live)


def translate(cpu_map: CPUMap, arch: Arch, cpu: CPUDef, models: HypervisorModels | None) -> CPUDef:
    """Give *cpu* with a model that is one of the hypervisor's *models* (None: it takes all).

    Raises UnsupportedArch, BrokenMap, UnsupportedModel, and what the driver raises.
    """
    driver = driver_for(arch)
    if cpu.mode in (Mode.HOST_MODEL, *_OPEN_MODES) or models is None or cpu.model in models:
        return cpu
    if cpu.fallback is not Fallback.ALLOW:
        raise UnsupportedModel(f"CPU model {cpu.model} is not supported by hypervisor")
    if driver.translate is None:
        raise UnsupportedArch(f"cannot translate CPU model {cpu.model} to a supported model")
    return driver.translate(cpu_map.part(driver), cpu, models)


def expand(cpu_map: CPUMap, arch: Arch, cpu: CPUDef) -> CPUDef:
    """Give *cpu* with all features of its model listed, in the order of their names' bytes.

    Raises UnsupportedArch, BrokenMap, NoModel or UnknownModel.
    """
    driver = driver_for(arch)
    if driver.expand is not None:
        cpu = driver.expand(cpu_map.part(driver), cpu)
    in_order = sorted(cpu.features.items(), key=lambda feature: feature[0].encode())
    return cpu._replace(features=MappingProxyType(dict(in_order)))


def copy_migratable(cpu_map: CPUMap, arch: Arch, cpu: CPUDef) -> CPUDef:
    """Give *cpu* without listed features that keep a guest from migrating.

    Its model is left as it is. Raises UnsupportedArch or BrokenMap.
    """
    blocking = non_migratable(cpu_map, arch)
    kept = {name: policy for name, policy in cpu.features.items() if name not in blocking}
    return cpu._replace(features=MappingProxyType(kept))


def has_feature(cpu_map: CPUMap, arch: Arch, cpu: CPUDef, feature: str) -> bool:
    """Whether *cpu* has *feature*, by itself or by its model.

    Raises UnsupportedArch, BrokenMap, UnknownModel or UnknownFeature.
    """
    driver = driver_for(arch)
    if driver.has_feature is None:
        raise UnsupportedArch(f"cannot check guest CPU feature for {arch} architecture")
    return driver.has_feature(cpu_map.part(driver), cpu, feature)


def data_has_feature(cpu_map: CPUMap, arch: Arch, data: object, feature: str) -> bool:
    """Whether CPU data has *feature*; raises UnsupportedArch, BrokenMap or UnknownFeature."""
    driver = driver_for(arch)
    if driver.data_has_feature is None:
        raise UnsupportedArch(f"cannot check guest CPU feature for {arch} architecture")
    return driver.data_has_feature(cpu_map.part(driver), data, feature)


def validate_features(cpu_map: CPUMap, arch: Arch, cpu: CPUDef) -> None:
    """Raise what libvirt would say of the first feature of *cpu* that *arch* does not have.

    Raises UnsupportedArch, BrokenMap, UnknownFeature or UnsupportedPolicy.
    """
    driver = driver_for(arch)
    if driver.validate_features is not None:
        driver.validate_features(cpu_map.part(driver), cpu)


def unknown_features(cpu_map: CPUMap, arch: Arch, names: Iterable[str]) -> frozenset[str]:
    """Give those of *names* that the map does not have; raises UnsupportedArch or BrokenMap."""
    unknown = []
    for name in names:
        try:
            validate_features(cpu_map, arch, CPUDef(features=MappingProxyType({name: None})))
        except UnknownFeature:
            unknown.append(name)
    return frozenset(unknown)


def vendor_for_model(cpu_map: CPUMap, arch: Arch, model: str) -> str | None:
    """Give the vendor of *model*, None if it has none or is unknown.

    Raises UnsupportedArch or BrokenMap.
    """
    driver = driver_for(arch)
    if driver.vendor_for_model is None:
        return None
    return driver.vendor_for_model(cpu_map.part(driver), model)
