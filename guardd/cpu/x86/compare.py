"""Hold an x86 CPU against a host, as libvirt does (spec cpu-x86, section 4)."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from guardd.cpu.definition import CPUDef, CPUType, FeaturePolicy, Match
from guardd.cpu.driver import CompareResult, Comparison, Difference
from guardd.cpu.families import X86
from guardd.cpu.x86.map import X86Map, unknown_feature

_ADDS = frozenset({FeaturePolicy.FORCE, FeaturePolicy.REQUIRE, None})
_SUBTRACTS = frozenset({FeaturePolicy.DISABLE, FeaturePolicy.FORBID})
_NONE_ASKED = dict.fromkeys(FeaturePolicy, 0)
_REQUIRE = FeaturePolicy.REQUIRE  # Python 3.11 makes a call of each look into an enum
# definitions whose bits are remembered: a host is asked about the same few again and again
REMEMBERED = 256


class Asked(NamedTuple):
    """The bits that a definition names with each policy; `require` begins with its model's."""

    force: int
    require: int
    optional: int
    disable: int
    forbid: int


def all_bits(x86: X86Map, cpu: CPUDef) -> int:
    """Give the bits *cpu* has: its model's, and its features' as their policies say.

    Raises UnknownModel or UnknownFeature; the name of an optional feature is not looked up.
    """
    return _all_bits(x86, cpu, tuple(cpu.features))


@lru_cache(maxsize=REMEMBERED)
def _all_bits(x86: X86Map, cpu: CPUDef, _order: tuple[str, ...]) -> int:
    # equal definitions may differ in their order, which counts where features share bits
    bits = x86.model(cpu.model).bits if cpu.model is not None else 0
    # these two loops are most of a comparison, so they make no call for a feature
    known, name = x86.features, ""
    try:
        for name, policy in cpu.features.items():
            if policy in _ADDS:
                bits |= known[name].bits
            elif policy in _SUBTRACTS:
                bits &= ~known[name].bits
    except KeyError:
        raise unknown_feature(name) from None
    return bits


@lru_cache(maxsize=REMEMBERED)
def asked_bits(x86: X86Map, cpu: CPUDef) -> Asked:
    """Sort the bits of *cpu* by policy; raises UnknownModel or UnknownFeature.

    A host's features have no policy: all are required.
    """
    bits = dict(_NONE_ASKED)
    if cpu.model is not None:
        bits[_REQUIRE] = x86.model(cpu.model).bits
    known, name = x86.features, ""
    try:
        for name, policy in cpu.features.items():
            bits[policy or _REQUIRE] |= known[name].bits
    except KeyError:
        raise unknown_feature(name) from None
    return Asked(*bits.values())


def compare(x86: X86Map, host: CPUDef, cpu: CPUDef) -> Comparison:
    """Say whether *host* can give what *cpu* asks for, and if not, what stands between them.

    Neither mode, check nor fallback is looked at; exact and minimum are equal here.
    Raises UnknownModel or UnknownFeature.
    """
    if host.model is None:
        return Comparison.incompatible(Difference.UNKNOWN_HOST)
    if cpu.arch is not None and cpu.arch not in X86:
        return Comparison.incompatible(Difference.ARCH, cpu.arch)
    if cpu.vendor is not None and cpu.vendor != host.vendor:
        return Comparison.incompatible(Difference.VENDOR, cpu.vendor)

    given = all_bits(x86, host)
    asked = asked_bits(x86, cpu)
    if forbidden := asked.forbid & given:
        return Comparison.incompatible(Difference.FORBIDDEN, *x86.names(forbidden))
    required = asked.require & ~(asked.force | asked.optional | asked.disable)
    if missing := required & ~given:
        return Comparison.incompatible(Difference.MISSING, *x86.names(missing))

    extra = given & ~(asked.optional | required | asked.disable | asked.force)
    if not extra:
        return Comparison(CompareResult.IDENTICAL)
    if cpu.type is CPUType.GUEST and cpu.match is Match.STRICT:
        return Comparison.incompatible(Difference.EXTRA, *x86.names(extra))
    return Comparison(CompareResult.SUPERSET)
