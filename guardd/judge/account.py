"""What lies behind findings: where what a guest asks for comes from, and how it came about."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from guardd import cpu
from guardd.cpu import CPUMap
from guardd.cpu.definition import Check, CPUDef, Mode
from guardd.cpu.families import X86, driver_for
from guardd.errors import GuardError
from guardd.facts.domain import Guest
from guardd.facts.drift import Change, compare_hosts, fitted
from guardd.facts.snapshot import HostSnapshot
from guardd.judge.birth import versions_of
from guardd.judge.finding import Code, Finding
from guardd.judge.reference import KVM

TCG = "qemu"  # domain/@type
NEAR_NAMES = 3
LIKENESS = 0.8  # of a name that may be meant, from 0 to 1

# of these the subjects are features
_FEATURES = frozenset(
    {
        Code.MISSING_FEATURE,
        Code.FORBIDDEN_FEATURE,
        Code.EXTRA_FEATURE,
        Code.SILENT_DOWNGRADE,
        Code.ABOVE_CEILING,
        Code.UNKNOWN_FEATURE,
        Code.INVTSC,
    }
)
BY_STAMP = frozenset(
    {
        Code.LOST_FEATURE,
        Code.NEW_FEATURE,
        Code.VENDOR_CROSSING,
        Code.CORE_MISMATCH,
        Code.PAGE_SIZE,
        Code.TSC_CHANGE,
    }
)
# of these it is one element of the definition
_ELEMENTS = {
    Code.VENDOR_MISMATCH: "<vendor>",
    Code.ARCH_MISMATCH: "<type arch>",
    Code.MODEL_MISMATCH: "<model>",
    Code.COMPAT_MODE: "<model>",
    Code.UNKNOWN_MODEL: "<model>",
    Code.UNSUPPORTED_MODEL: "<model>",
    Code.UNSUPPORTED_MODE: "<cpu mode>",
    Code.PHYS_BITS: "<maxphysaddr>",
    Code.TSC_FREQUENCY: "<timer name='tsc'>",
}
_LACKING = frozenset({Code.MISSING_FEATURE, Code.SILENT_DOWNGRADE, Code.LOST_FEATURE})


class Origin(StrEnum):
    """Where something comes from that a guest asks for."""

    FEATURE = "feature"  # its definition names it
    MODEL = "model"
    HOST_MODEL = "host-model"
    IN_FORCE = "in-force"  # it got it when it started
    STAMP = "stamp"
    ELEMENT = "element"  # another element of its definition


@dataclass(frozen=True, slots=True)
class Asked:
    """What of a guest's findings comes from one place; `detail`: the model, the element, ..."""

    origin: Origin
    detail: str
    names: tuple[str, ...]


class Cause(StrEnum):
    """How it can come about that a host does not give what a guest asks for."""

    HARDWARE = "hardware"  # the processor has it not
    HYPERVISOR = "hypervisor"  # the processor has it, and guests do not get it
    EMULATOR = "emulator"  # QEMU emulates the guest's CPU, and not all of it
    DRIFT = "drift"  # the host had it before it changed
    STAMP = "stamp"  # the guest booted under other versions
    UNKNOWN_NAME = "unknown-name"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One cause: which names it explains, and what there is to say of it.

    `who`: the processor, the hypervisor, the host where the guest booted; or other names that may
    be meant. `since`: the time of the snapshot before a drift, else "".
    """

    cause: Cause
    names: tuple[str, ...] = ()
    who: str = ""
    since: str = ""
    changes: tuple[Change, ...] = ()


def asked_by(findings: Iterable[Finding], guest: Guest, cpu_map: CPUMap) -> tuple[Asked, ...]:
    """Say where that comes from which *findings* are about; what cannot be told is left out."""
    groups: dict[tuple[Origin, str], list[str]] = {}
    for finding in findings:
        if (found := _origin(finding, guest, cpu_map)) is not None:
            groups.setdefault(found, []).append(finding.subject)
    return tuple(Asked(*found, tuple(dict.fromkeys(names))) for found, names in groups.items())


def _origin(finding: Finding, guest: Guest, cpu_map: CPUMap) -> tuple[Origin, str] | None:
    asked, code = guest.cpu, finding.code
    if code in BY_STAMP:
        return None if guest.stamp is None else (Origin.STAMP, guest.stamp.host)
    if asked is None:
        return None
    if code in _ELEMENTS:
        return Origin.ELEMENT, _ELEMENTS[code]
    if code not in _FEATURES:
        return None
    if asked.check is not Check.FULL and finding.subject in asked.features:
        return Origin.FEATURE, ""
    if finding.subject in _features_of_model(asked, guest, cpu_map):
        return Origin.MODEL, asked.model or ""
    if asked.mode is Mode.HOST_MODEL:
        return Origin.HOST_MODEL, ""
    return (Origin.IN_FORCE, "") if finding.subject in asked.features else None


def _features_of_model(asked: CPUDef, guest: Guest, cpu_map: CPUMap) -> frozenset[str]:
    if asked.model is None or asked.mode is not Mode.CUSTOM:
        return frozenset()
    try:
        return cpu.features(cpu_map, guest.arch, CPUDef(model=asked.model))
    except GuardError:
        return frozenset()


def reasons(
    findings: Sequence[Finding],
    guest: Guest,
    host: HostSnapshot,
    previous: HostSnapshot | None,
    cpu_map: CPUMap,
) -> tuple[Reason, ...]:
    """Say how it came about that *host* does not give what *findings* are about.

    *previous*: the host before it changed last, None where it never did. Never raises a GuardError:
    what cannot be told is left out.
    """
    lacking = tuple(dict.fromkeys(f.subject for f in findings if f.code in _LACKING))
    return (
        *_of_layers(lacking, guest, host, cpu_map),
        *_of_drift(lacking, host, previous, cpu_map),
        *_of_stamp(findings, guest, host),
        *_of_names(findings, guest, cpu_map),
    )


def _of_layers(
    lacking: Sequence[str], guest: Guest, host: HostSnapshot, cpu_map: CPUMap
) -> list[Reason]:
    """Tell what the processor lacks from what KVM, QEMU or libvirt keep back."""
    try:
        if not lacking or not cpu.has_features(guest.arch):
            return []
        if guest.virt_type == TCG:
            return [Reason(cause=Cause.EMULATOR, names=tuple(lacking), who="TCG")]
        is_native = guest.virt_type == KVM and cpu.same_family(host.arch, guest.arch)
        if not is_native or host.host_cpu is None:
            return []
        silicon = cpu.features(cpu_map, host.arch, host.host_cpu)
        strange = cpu.unknown_features(cpu_map, guest.arch, lacking)
    except GuardError:
        return []
    model = host.host_cpu.model or ""
    without = tuple(name for name in lacking if name not in silicon | strange)
    withheld = tuple(name for name in lacking if name in silicon)
    return [
        Reason(cause=cause, names=names, who=model)
        for cause, names in ((Cause.HARDWARE, without), (Cause.HYPERVISOR, withheld))
        if names
    ]


def _of_drift(
    lacking: Sequence[str], host: HostSnapshot, previous: HostSnapshot | None, cpu_map: CPUMap
) -> list[Reason]:
    if previous is None or not lacking:
        return []
    try:
        drift = compare_hosts(fitted(previous, cpu_map)[0], host, cpu_map)
    except GuardError:
        return []
    lost = tuple(name for name in lacking if name in drift.features.lost)
    if not lost:
        return []
    return [Reason(cause=Cause.DRIFT, names=lost, since=previous.taken, changes=drift.changes)]


def _of_stamp(findings: Iterable[Finding], guest: Guest, host: HostSnapshot) -> list[Reason]:
    """Say what was another version where the guest booted."""
    stamp = guest.stamp
    if stamp is None or not any(f.code in BY_STAMP | _LACKING for f in findings):
        return []
    here = versions_of(host)
    changes = tuple(
        Change(what, before, here[what])
        for what, before in stamp.versions.items()
        if here.get(what, before) != before
    )
    if not changes:
        return []
    return [Reason(cause=Cause.STAMP, who=stamp.host, since=stamp.taken, changes=changes)]


def _of_names(findings: Iterable[Finding], guest: Guest, cpu_map: CPUMap) -> list[Reason]:
    """Find what a name that nobody here knows may be meant for."""
    found = []
    for finding in findings:
        if finding.code not in (Code.UNKNOWN_FEATURE, Code.UNKNOWN_MODEL):
            continue
        try:
            near = _near(finding, guest, cpu_map)
        except GuardError:
            continue
        found.append(
            Reason(cause=Cause.UNKNOWN_NAME, names=(finding.subject,), who=", ".join(near))
        )
    return found


def _near(finding: Finding, guest: Guest, cpu_map: CPUMap) -> list[str]:
    name = finding.subject
    if finding.code is Code.UNKNOWN_MODEL:
        return difflib.get_close_matches(
            name, cpu.models(cpu_map, guest.arch), NEAR_NAMES, LIKENESS
        )
    if guest.arch not in X86:
        return []
    features = cpu_map.part(driver_for(guest.arch)).features
    # QEMU and Linux call some of them otherwise, and so did earlier versions of theirs
    renamed = [
        own for own, known in features.items() if name in {a for a, _source in known.aliases}
    ]
    return renamed or difflib.get_close_matches(name, features, NEAR_NAMES, LIKENESS)
