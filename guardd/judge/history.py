"""The rules of what a guest has seen since it booted, by its stamp, against this host.

libvirt compares nothing for modes host-passthrough and maximum, and neither page sizes nor cores;
vendors only where the definition has one.
"""

from __future__ import annotations

from types import MappingProxyType

from guardd import cpu
from guardd.cpu.arm.host import ArmHost, compare_hosts
from guardd.cpu.arm.midr import MIDR
from guardd.cpu.definition import Arch, CPUDef, FeaturePolicy, Mode
from guardd.cpu.driver import CompareResult, Comparison, Difference
from guardd.cpu.families import PPC64
from guardd.errors import GuardError
from guardd.facts.stamp import Stamp
from guardd.judge.birth import OPEN_MODES, open_features
from guardd.judge.case import Case
from guardd.judge.compatibility import IGNORED_BY_LIBVIRT
from guardd.judge.finding import Code, Finding
from guardd.judge.generation import mode_generation, model_generation
from guardd.judge.reference import ONLY_BY_NAME, usable_features
from guardd.judge.stamp import shown

_NOT_COMPARED = IGNORED_BY_LIBVIRT | ONLY_BY_NAME

_HINT_ANEW = "use a host that is as the one where it booted, or start it anew here"
_HINT_NEW = "programs started from now on may use it; then the guest cannot go back"


def judge_history(case: Case) -> list[Finding]:
    """Find what the guest has seen and this host has not, or has and it has not seen."""
    stamp = case.stamp
    if stamp is None:
        return []
    try:
        return [*_judge_vendor(case, stamp), *_judge_cpu(case, stamp)]
    except GuardError as exc:
        sentence = f"the guest's stamp cannot be held against this host: {exc}"
        return [Finding(Code.UNCHECKED, case.guest.arch, sentence, exc.hint)]


def _judge_cpu(case: Case, stamp: Stamp) -> list[Finding]:
    arch = case.guest.arch
    if cpu.has_features(arch):
        return _judge_features(case, stamp) if case.asked.mode in OPEN_MODES else []
    if not case.is_native:
        return []
    if arch in PPC64:
        return _judge_generation(case, stamp)
    if arch is Arch.AARCH64 and case.asked.mode in OPEN_MODES:
        return _judge_arm(case, stamp)
    return []


def _judge_vendor(case: Case, stamp: Stamp) -> list[Finding]:
    """Source for what KVM shows: x86_cpu_load_model in QEMU's target/i386/cpu.c."""
    host, asked = case.snapshot.host_cpu, case.asked
    if not case.is_native or not cpu.has_features(case.guest.arch) or host is None:
        return []
    if not host.vendor or not stamp.vendor or stamp.vendor == host.vendor:
        return []
    if asked.vendor not in (None, host.vendor):
        return []  # vendor-mismatch says it
    sentence = (
        f"the guest booted on a CPU of vendor {stamp.vendor}, this host's is of {host.vendor};"
        " KVM shows a guest the vendor of its host"
    )
    return [Finding(Code.VENDOR_CROSSING, stamp.vendor, sentence, _HINT_ANEW)]


def _judge_features(case: Case, stamp: Stamp) -> list[Finding]:
    arch, label = case.guest.arch, case.reference.label
    if case.reference.hypervisor.host_model is None:
        sentence = f"libvirt does not tell what guests get on this host ({label})"
        return [Finding(Code.UNCHECKED, arch, sentence)]
    if not stamp.features:
        return [Finding(Code.UNCHECKED, arch, "the guest's stamp names no features")]
    here = open_features(case.cpu_map, case.guest, case.asked, case.snapshot, case.reference)
    seen = stamp.features - _NOT_COMPARED
    unknown = cpu.unknown_features(case.cpu_map, arch, seen - here)
    lost = _lost(case, seen - here - unknown, seen - unknown)
    findings = [
        Finding(
            Code.LOST_FEATURE,
            name,
            f"the guest has seen {name} since it booted, and this host ({label}) does not give it",
            _HINT_ANEW,
        )
        for name in sorted(lost)
    ]
    findings += [_new(case, stamp, name) for name in sorted(here - seen - _NOT_COMPARED)]
    if unknown:
        sentence = f"the guest has seen features that libvirt here does not know: {shown(unknown)}"
        findings.append(Finding(Code.UNCHECKED, min(unknown), sentence))
    return findings


def _lost(case: Case, gone: frozenset[str], seen: frozenset[str]) -> frozenset[str]:
    """Take out of *gone* what the guest cannot have noticed, or what QEMU can give after all."""
    if not gone:
        return gone
    arch = case.guest.arch
    whole = CPUDef(features=MappingProxyType(dict.fromkeys(seen, FeaturePolicy.REQUIRE)))
    hidden = cpu.hidden_features(case.cpu_map, arch, whole)
    return gone - hidden - usable_features(case.cpu_map, case.reference, arch)


def _new(case: Case, stamp: Stamp, name: str) -> Finding:
    sentence = f"the guest booted without {name}, and this host ({case.reference.label}) gives it"
    if stamp.versions.get("libvirt", "") != case.snapshot.libvirt:
        sentence += "; or its libvirt was another and could not name it"
    return Finding(Code.NEW_FEATURE, name, sentence, _HINT_NEW)


def _judge_generation(case: Case, stamp: Stamp) -> list[Finding]:
    """An older guest on a newer PowerPC host is QEMU's to judge: it knows its compat modes."""
    asked, host = case.asked, case.snapshot.host_cpu
    if asked.mode is Mode.CUSTOM or asked.model is not None:
        return []  # the definition tells, and libvirt's comparison is made
    name = stamp.compat or stamp.model
    seen = mode_generation(name) if stamp.compat else model_generation(name)
    here = None if host is None or host.model is None else model_generation(host.model)
    if seen is None or here is None:
        which = (name or "the guest's CPU") if seen is None else "this host's CPU"
        return [Finding(Code.UNCHECKED, case.guest.arch, f"the generation of {which} is not known")]
    if seen <= here:
        return []
    sentence = f"the guest booted as {name}, newer than this host ({case.reference.label})"
    return [Finding(Code.COMPAT_MODE, name, sentence, _HINT_ANEW)]


def _judge_arm(case: Case, stamp: Stamp) -> list[Finding]:
    host = case.snapshot.arm
    if host is None or not stamp.cores or stamp.page_size is None:
        which = "this host" if host is None else "the host where the guest booted"
        sentence = f"the cores and the page size of {which} are not known"
        return [Finding(Code.UNCHECKED, case.guest.arch, sentence)]
    origin = ArmHost(
        cores=frozenset(MIDR.of(core) for core in stamp.cores),
        features=stamp.features,
        registers=MappingProxyType({}),  # not in a stamp: `features` is what they come to
        page_size=stamp.page_size,
    )
    host = host._replace(registers=MappingProxyType({}))
    comparison = compare_hosts(host, origin)
    if comparison.result is CompareResult.INCOMPATIBLE:
        return _arm_findings(comparison, stamp)
    findings = [_new(case, stamp, name) for name in sorted(host.features - origin.features)]
    if comparison.result is CompareResult.UNCHECKED:
        sentence = (
            "the cores differ in their revision from those where the guest booted, which KVM shows"
            " to it"
        )
        findings.append(Finding(Code.UNCHECKED, case.guest.arch, sentence))
    return findings


def _arm_findings(comparison: Comparison, stamp: Stamp) -> list[Finding]:
    match comparison.difference:
        case Difference.PAGE_SIZE:
            code, what = Code.PAGE_SIZE, "pages of {name}"
        case Difference.MISSING:
            code, what = Code.LOST_FEATURE, "the feature {name}"
        case _:
            code, what = Code.CORE_MISMATCH, "cores of {name}"
    names = comparison.subjects
    if code is Code.PAGE_SIZE:
        names = (f"{stamp.page_size} bytes",)
    return [
        Finding(
            code,
            name,
            f"the guest booted on a host with {what.format(name=name)}, which this one has not",
            _HINT_ANEW,
        )
        for name in names
    ]
