"""Whether a guest that runs on one aarch64 host could run on another; libvirt does not say.

A guest on KVM sees the host's own MIDR_EL1 and ID registers, and its page size limits which
kernels run in it. Higher values of an ID register's field mean more (Arm ARM, D24.1.3:
"Principles of the ID scheme for fields in ID registers").
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from guardd.cpu.arm.midr import MIDR
from guardd.cpu.driver import CompareResult, Comparison, Difference

# the lowest bit of each field that Linux shows to user space, 4 bits each; source:
# cpu-feature-registers.rst in the kernel's documentation of arm64
FIELDS: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {
        "ID_AA64ISAR0_EL1": {
            "AES": 4,
            "SHA1": 8,
            "SHA2": 12,
            "CRC32": 16,
            "Atomic": 20,
            "RDM": 28,
            "SHA3": 32,
            "SM3": 36,
            "SM4": 40,
            "DP": 44,
            "FHM": 48,
            "TS": 52,
            "RNDR": 60,
        },
        "ID_AA64ISAR1_EL1": {
            "DPB": 0,
            "APA": 4,
            "API": 8,
            "JSCVT": 12,
            "FCMA": 16,
            "LRCPC": 20,
            "GPA": 24,
            "GPI": 28,
            "FRINTTS": 32,
            "SB": 36,
            "BF16": 44,
            "DGH": 48,
            "I8MM": 52,
        },
        "ID_AA64PFR0_EL1": {"FP": 16, "AdvSIMD": 20, "SVE": 32, "DIT": 48},
        "ID_AA64PFR1_EL1": {"BT": 0, "SSBS": 4, "MTE": 8, "SME": 24},
        "ID_AA64MMFR2_EL1": {"AT": 32},
        "ID_AA64ZFR0_EL1": {
            "SVEver": 0,
            "AES": 4,
            "BitPerm": 16,
            "BF16": 20,
            "SHA3": 32,
            "SM4": 40,
            "I8MM": 44,
            "F32MM": 52,
            "F64MM": 56,
        },
    }
)
FIELD_BITS = 4
# two's complement: 0b1111 means "none" there
_SIGNED = frozenset({"FP", "AdvSIMD"})


class ArmHost(NamedTuple):
    """An aarch64 host.

    `cores`: one MIDR for each kind of core, more than one on big.LITTLE. `features`: names as in
    /proc/cpuinfo. `registers`: ID registers by name. `page_size` in bytes.
    """

    cores: frozenset[MIDR]
    features: frozenset[str]
    registers: Mapping[str, int]
    page_size: int


def compare_hosts(host: ArmHost, origin: ArmHost) -> Comparison:
    """Say whether *host* can take a guest that was started with the CPU of *origin*.

    It can if their cores have the same implementer, part and variant, pages are of one size, and
    *host* has all that *origin* has. UNCHECKED: only the cores' revisions differ, which KVM shows
    to the guest and may refuse to change.
    """
    if difference := _core_difference(host, origin):
        return difference
    if host.page_size != origin.page_size:
        return Comparison.incompatible(Difference.PAGE_SIZE, str(origin.page_size))
    missing = [*sorted(origin.features - host.features), *_higher(origin, host)]
    if missing:
        return Comparison.incompatible(Difference.MISSING, *missing)
    if host.cores != origin.cores:
        return Comparison(CompareResult.UNCHECKED)
    if host.features != origin.features or any(_higher(host, origin)):
        return Comparison(CompareResult.SUPERSET)
    return Comparison(CompareResult.IDENTICAL)


def _core_difference(host: ArmHost, origin: ArmHost) -> Comparison | None:
    implementers = {core.implementer for core in origin.cores}
    if implementers != {core.implementer for core in host.cores}:
        names = (f"implementer 0x{code:02x}" for code in sorted(implementers))
        return Comparison.incompatible(Difference.VENDOR, *names)
    parts = {(core.part, core.variant) for core in origin.cores}
    if parts != {(core.part, core.variant) for core in host.cores}:
        names = (f"part 0x{part:03x} variant {variant}" for part, variant in sorted(parts))
        return Comparison.incompatible(Difference.MODEL, *names)
    return None


def _higher(host: ArmHost, other: ArmHost) -> Iterator[str]:
    """Name the fields of ID registers in which *host* has more than *other*."""
    for register, fields in FIELDS.items():
        for field, shift in fields.items():
            levels = (
                _level(each.registers.get(register, 0) >> shift, is_signed=field in _SIGNED)
                for each in (host, other)
            )
            if next(levels) > next(levels):
                yield f"{register}.{field}"


def _level(bits: int, *, is_signed: bool) -> int:
    level = bits & (1 << FIELD_BITS) - 1
    return level - (1 << FIELD_BITS) if is_signed and level >> FIELD_BITS - 1 else level
