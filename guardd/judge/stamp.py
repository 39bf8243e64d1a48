"""Whether a guest's stamp can be relied on, and what it adds to a definition that tells less.

A stamp is no proof: whoever may change the guest's XML may change it. So it only ever adds
findings, and one that does not fit its guest is a doubt.
"""

from __future__ import annotations

from types import MappingProxyType

from guardd import cpu
from guardd.cpu.definition import (
    Arch,
    Check,
    CPUDef,
    Fallback,
    FeaturePolicy,
    Match,
    Mode,
)
from guardd.cpu.families import PPC64
from guardd.errors import UnknownFeature
from guardd.facts.stamp import Stamp
from guardd.judge.birth import OPEN_MODES
from guardd.judge.case import Case
from guardd.judge.compatibility import IGNORED_BY_LIBVIRT
from guardd.judge.finding import Code, Finding, Operation
from guardd.judge.stage import Stage

NAMES_SHOWN = 5  # of those that a sentence has room for

_HINT_UNSTAMPED = (
    "start the guest anew on a host with cpu-guardd, or compare `virsh domcapabilities` of both"
    " hosts"
)
_HINT_BAD_STAMP = "the guest gets a new stamp when it is started anew; see cpu-guardd(8)"


def heed_stamp(case: Case) -> tuple[Stamp | None, list[Finding]]:
    """Give the guest's stamp if it can be relied on, and the doubt where it should and cannot."""
    stamp = case.guest.stamp
    if stamp is None and not case.guest.stamp_problem:
        arrives = case.arrives or case.operation is not Operation.PREPARE
        return None, [_unstamped(case)] if arrives and _counts(case) else []
    problem = case.guest.stamp_problem or _misfit(case, stamp)
    if problem:
        return None, [Finding(Code.BAD_STAMP, case.guest.name, problem, _HINT_BAD_STAMP)]
    return stamp, []


def with_stamped_cpu(case: Case) -> Case:
    """Give a *case* of an arriving guest with the CPU that its stamp says is in force.

    libvirt shows that CPU itself at `prepare`. The case as it is where there is no stamp, or it
    names features that the CPU map here does not have.
    """
    stamp, arch = case.stamp, case.guest.arch
    if case.stage is not Stage.ARRIVING or stamp is None or case.asked.mode in OPEN_MODES:
        return case
    known = {stamp.model} <= set(cpu.models(case.cpu_map, arch))
    if not stamp.features or not known or cpu.unknown_features(case.cpu_map, arch, stamp.features):
        return case
    return case._replace(asked=_in_force(case, stamp), stage=Stage.IN_FORCE)


def _in_force(case: Case, stamp: Stamp) -> CPUDef:
    """Write out the CPU of *stamp* as libvirt does once QEMU has made it (spec cpu-x86, 8.4)."""
    of_model = cpu.features(case.cpu_map, case.guest.arch, CPUDef(model=stamp.model))
    forbidden = case.asked.named(FeaturePolicy.FORBID)
    off = (of_model | case.asked.named(FeaturePolicy.DISABLE)) - stamp.features
    features: dict[str, FeaturePolicy | None] = {
        **dict.fromkeys(sorted(stamp.features), FeaturePolicy.REQUIRE),
        **dict.fromkeys(sorted(off), FeaturePolicy.DISABLE),
        **dict.fromkeys(sorted(forbidden - stamp.features), FeaturePolicy.FORBID),
    }
    # host-model brings the host's vendor along, mode custom only its own
    vendor = case.asked.vendor
    if vendor is None and case.asked.mode is Mode.HOST_MODEL:
        vendor = stamp.vendor or None
    return case.asked._replace(
        mode=Mode.CUSTOM,
        match=Match.EXACT,
        check=Check.FULL,
        fallback=Fallback.FORBID,
        model=stamp.model,
        vendor=vendor,
        features=MappingProxyType(features),
    )


def _counts(case: Case) -> bool:
    """Whether a stamp would tell something of this guest that its definition does not."""
    if case.asked.mode not in OPEN_MODES:
        return False
    arch = case.guest.arch
    return cpu.has_features(arch) or (case.is_native and (arch in PPC64 or arch is Arch.AARCH64))


def _unstamped(case: Case) -> Finding:
    sentence = (
        f"the guest takes its host's CPU as it is (mode {case.asked.mode}), and it has no stamp"
        " that tells what it has seen since it booted"
    )
    return Finding(Code.UNSTAMPED, str(case.asked.mode), sentence, _HINT_UNSTAMPED)


def _misfit(case: Case, stamp: Stamp | None) -> str:
    """Say why *stamp* cannot be that of this guest, "" where it can."""
    guest = case.guest
    if stamp is None or stamp.uuid != (guest.uuid or "").lower():
        return "the stamp is that of another guest"
    if (stamp.arch, stamp.virt_type) != (guest.arch, guest.virt_type):
        return f"the stamp is of a guest of {stamp.arch} under {stamp.virt_type}"
    if not cpu.has_features(guest.arch) or not stamp.features:
        return ""
    off = case.asked.named(FeaturePolicy.DISABLE, FeaturePolicy.FORBID) & stamp.features
    if off:
        return f"the stamp has features that the definition takes away: {shown(off)}"
    missing = _promised(case, stamp) - IGNORED_BY_LIBVIRT - stamp.features
    if missing - _hidden(case, stamp.features | missing):
        return f"the stamp lacks features that the definition has: {shown(missing)}"
    return ""


def _promised(case: Case, stamp: Stamp) -> frozenset[str]:
    """Name the features that a stamp of this guest must have."""
    required = case.asked.named(FeaturePolicy.FORCE, FeaturePolicy.REQUIRE)
    if case.asked.mode in OPEN_MODES:
        return required
    # as written, QEMU may have dropped some; and another libvirt may have named them otherwise
    is_same = stamp.versions.get("libvirt", "") == case.snapshot.libvirt
    return required if case.stage is Stage.IN_FORCE and is_same else frozenset()


def _hidden(case: Case, features: frozenset[str]) -> frozenset[str]:
    """Name those of *features* that stand in an MSR which a guest without others has not."""
    whole = CPUDef(features=MappingProxyType(dict.fromkeys(features, FeaturePolicy.REQUIRE)))
    try:
        return cpu.hidden_features(case.cpu_map, case.guest.arch, whole)
    except UnknownFeature:
        return frozenset()


def shown(names: frozenset[str]) -> str:
    """Write some of *names* out and count the rest."""
    first = ", ".join(sorted(names)[:NAMES_SHOWN])
    rest = len(names) - NAMES_SHOWN
    return f"{first} (+{rest})" if rest > 0 else first
