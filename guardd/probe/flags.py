"""x86 features as the kernel names them in /proc/cpuinfo, turned into CPU data: the last resort.

What cannot be known so: the features that the kernel hides from there or has no name for, those
that it switched off on the command line, and all that is in MSRs. Where a name of the kernel may
stand for several features (ssbd on AMD), none is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from guardd.cpu.definition import Signature
from guardd.cpu.x86.data import SIGNATURE, VENDOR, CPUData, Register, encode_signature
from guardd.cpu.x86.map import Feature, X86Map
from guardd.probe.cpuinfo import number

# Where the kernel's name is neither the map's, nor an alias in the map, nor spelled with other
# dashes. Source: Linux, arch/x86/include/asm/cpufeatures.h.
_NAMES = {
    "dts": "ds",  # the debug store; the thermal sensor is "dtherm"
    "pclmulqdq": "pclmuldq",
    "sse4_1": "sse4.1",
    "sse4_2": "sse4.2",
    "tsc_deadline_timer": "tsc-deadline",
    "cqm": "cmt",
    "cqm_mbm_total": "mbm_total",
    "cqm_mbm_local": "mbm_local",
    "pausefilter": "pause-filter",
    "nonstop_tsc": "invtsc",
}

# Names of mitigations: the feature behind them is the vendor's own; "" where it cannot be told.
# Source: Linux, arch/x86/kernel/cpu/common.c, init_speculation_control.
_MITIGATIONS: Mapping[str, Mapping[str, str]] = {
    "GenuineIntel": {"ibrs": "spec-ctrl", "ibpb": "", "stibp": "stibp", "ssbd": "ssbd"},
    "AuthenticAMD": {"ibrs": "ibrs", "ibpb": "ibpb", "stibp": "amd-stibp", "ssbd": ""},
    "HygonGenuine": {"ibrs": "ibrs", "ibpb": "ibpb", "stibp": "amd-stibp", "ssbd": ""},
}
_NO_MITIGATIONS = {"ibrs": "", "ibpb": "", "stibp": "", "ssbd": ""}

# the kernel has no name for OSXSAVE, but it sets it as soon as it uses XSAVE
_IMPLIED = {"xsave": "osxsave"}

_VENDOR_LENGTH = 12
_FAMILIES = range(15 + 0x100)
_MODELS = range(0x100)
_STEPPINGS = range(0x10)


def flags_data(x86: X86Map, lines: Mapping[str, str]) -> CPUData | None:
    """Give what one processor's *lines* of /proc/cpuinfo say; None: they name no features."""
    flags = frozenset(lines.get("flags", "").split())
    if not flags:
        return None
    vendor = lines.get("vendor_id", "")
    mitigations = _MITIGATIONS.get(vendor, _NO_MITIGATIONS)
    aliases = _aliases(x86)
    bits = 0
    for flag in sorted(flags):
        for name in (mitigations.get(flag, flag), _IMPLIED.get(flag, "")):
            feature = _feature(x86, aliases, name)
            if feature is not None:
                bits |= feature.bits
    registers = {
        register: value
        for register, value in x86.data(bits).registers.items()
        if register.source == "cpuid"
    }
    return CPUData(MappingProxyType(registers | dict(_identity(lines, vendor))))


def _aliases(x86: X86Map) -> dict[str, Feature]:
    """Give the features by the names that the map says they have elsewhere, Linux's first."""
    aliases: dict[str, Feature] = {}
    for wanted in ("linux", "qemu"):
        for feature in x86.features.values():
            for name, source in feature.aliases:
                if source == wanted:
                    aliases.setdefault(name, feature)
    return aliases


def _feature(x86: X86Map, aliases: Mapping[str, Feature], flag: str) -> Feature | None:
    spellings = (flag, _NAMES.get(flag, flag), flag.replace("_", "-"), flag.replace("_", ""))
    for name in spellings:
        feature = x86.features.get(name) or aliases.get(name)
        if feature is not None:
            return feature
    return None


def _identity(lines: Mapping[str, str], vendor: str) -> Iterator[tuple[Register, int]]:
    text = vendor.encode()
    if len(text) == _VENDOR_LENGTH:
        for place, register in enumerate(VENDOR):
            yield register, int.from_bytes(text[4 * place : 4 * place + 4], "little")
    family, model, stepping = (number(lines.get(k)) for k in ("cpu family", "model", "stepping"))
    if family in _FAMILIES and model in _MODELS and stepping in _STEPPINGS:
        signature = Signature(family=family or 0, model=model or 0, stepping=stepping or 0)
        yield SIGNATURE, encode_signature(signature)
