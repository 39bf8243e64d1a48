"""Hold a PowerPC CPU against a host, as libvirt does (spec cpu-ppc64, sections 3 to 5)."""

from __future__ import annotations

from guardd.cpu.definition import CPUDef, CPUType, Mode
from guardd.cpu.driver import CompareResult, Comparison, Difference
from guardd.cpu.families import PPC64
from guardd.cpu.ppc64 import PVRMatch
from guardd.cpu.ppc64.compat import check_compat, generation
from guardd.cpu.ppc64.map import Model, PPC64Map
from guardd.cpu.ppc64.revision import find_model
from guardd.errors import UnknownCompat

# spec cpu-ppc64, section 4: exactly these four, by exact spelling
LEGACY_NAMES = {
    "POWER7_v2.1": "POWER7",
    "POWER7_v2.3": "POWER7",
    "POWER7+_v2.1": "POWER7",
    "POWER8_v1.0": "POWER8",
}


def convert_legacy(cpu: CPUDef) -> CPUDef:
    """Give *cpu* with the name its model has today; others stay as they are."""
    today = LEGACY_NAMES.get(cpu.model or "")
    return cpu if today is None else cpu._replace(model=today)


def compare(ppc64: PPC64Map, host: CPUDef, cpu: CPUDef) -> Comparison:
    """Say whether *host* can run *cpu*: by name, or by generation for a compatibility mode.

    Match and features are not looked at, and a host is never a superset. With exact PVRs a legacy
    name is what it says, a compatibility mode must be one that the host offers, and UNCHECKED
    means that the host's definition tells no more than its family.
    Raises UnknownModel, NoModel or UnknownCompat.
    """
    if host.model is None:
        return Comparison.incompatible(Difference.UNKNOWN_HOST)
    is_exact = ppc64.pvr is PVRMatch.EXACT
    cpu = cpu if is_exact else convert_legacy(cpu)
    if cpu.arch is not None and cpu.arch not in PPC64:
        return Comparison.incompatible(Difference.ARCH, cpu.arch)
    if cpu.vendor is not None and cpu.vendor != host.vendor:
        return Comparison.incompatible(Difference.VENDOR, cpu.vendor)

    host_model = find_model(ppc64, host.model)
    if cpu.type is CPUType.HOST or cpu.mode is Mode.CUSTOM:
        return _compare_models(host_model, find_model(ppc64, cpu.model), is_exact=is_exact)
    if cpu.mode is not Mode.HOST_MODEL or cpu.model is None:
        return Comparison(CompareResult.IDENTICAL)
    return (check_compat if is_exact else _compare_compat)(host, cpu.model)


def _compare_models(host: Model, asked: Model, *, is_exact: bool) -> Comparison:
    if asked.name == host.name or (is_exact and asked.includes(host)):
        return Comparison(CompareResult.IDENTICAL)
    if is_exact and host.includes(asked):
        return Comparison(CompareResult.UNCHECKED)
    return Comparison.incompatible(Difference.MODEL, asked.name)


def _compare_compat(host: CPUDef, compat: str) -> Comparison:
    """Compare generations as numbers (section 5)."""
    given = generation(host.model or "", "POWER")
    if given is None:
        raise UnknownCompat(f"Host CPU {host.model} does not support compatibility modes")
    asked = generation(compat, "power")
    if asked is None:
        raise UnknownCompat(f"Unknown compatibility mode {compat}")
    if asked > given:
        return Comparison.incompatible(Difference.COMPAT, compat)
    return Comparison(CompareResult.IDENTICAL)
