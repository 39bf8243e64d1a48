"""The rule that libvirt has too: the host must stand up to a comparison with the guest's CPU.

No false veto: what libvirt accepts with check='partial' or 'full' is accepted here, by the same
comparison. What libvirt does not look at (check='none') is at most `silent-downgrade`.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from types import MappingProxyType

from guardd import cpu
from guardd.cpu.definition import Check, CPUDef, FeaturePolicy, Match, Mode
from guardd.cpu.driver import CompareResult, Comparison, Difference
from guardd.cpu.families import PPC64
from guardd.errors import GuardError, UnknownCompat, UnknownFeature, UnknownModel, UnsupportedArch
from guardd.facts.domcaps import Usable
from guardd.judge.case import Case
from guardd.judge.finding import Code, Finding
from guardd.judge.reference import KVM, ONLY_BY_NAME, model_gives
from guardd.judge.stage import Stage, check_in_effect

# libvirt takes these out of every x86 guest before QEMU sees them (spec cpu-x86, 7.5)
IGNORED_BY_LIBVIRT = frozenset(
    {"cmt", "mbm_total", "mbm_local", "osxsave", "ospke"}
    | {"vmx-ept-uc", "vmx-ept-wb", "vmx-invvpid-single-context"}
)

# definitions that are remembered: a host is asked about the same few again and again
REMEMBERED = 256

# difference: what is wrong with {name} on {host}, and what to do about all of the same kind
_WORDS = {
    Difference.MISSING: (
        "the guest requires {name}, which this host ({host}) does not give",
        (
            "set policy='disable' for what the guest can do without, choose an older CPU model, or"
            " use a host that has it all"
        ),
    ),
    Difference.FORBIDDEN: (
        "the guest forbids {name}, which this host ({host}) has",
        "set policy='disable' in its place to start the guest without it",
    ),
    Difference.EXTRA: (
        "the guest asks for a strict match, and this host ({host}) has {name} as well",
        "use match='exact'",
    ),
    Difference.VENDOR: (
        "the guest requires a CPU of vendor {name}, this host ({host}) has another",
        "remove <vendor>, or use a host of that vendor",
    ),
    Difference.ARCH: (
        "the guest's CPU is of architecture {name}, this host ({host}) is of another",
        "use a host of that architecture",
    ),
    Difference.MODEL: (
        "the guest requires CPU model {name}, and this host ({host}) is another",
        "use mode='host-model' with a compatibility mode that both hosts have",
    ),
    Difference.COMPAT: (
        "the guest asks for compatibility mode {name}, newer than this host ({host})",
        "use a compatibility mode that this host has, or a newer host",
    ),
}


def judge_compatibility(case: Case) -> list[Finding]:
    """Find what the guest asks for and the hypervisor does not give, or gives and must not."""
    try:
        match case.stage:
            case Stage.ARRIVING:
                return []
            case _ if _is_open(case) and not (
                case.asked.features and cpu.has_features(case.guest.arch)
            ):
                return []  # the host's CPU, whatever it is: there is nothing to compare
            case Stage.IN_FORCE if cpu.has_features(case.guest.arch):
                return _judge_in_force(case)
            case Stage.IN_FORCE:
                return _findings(case, _compare(case))
            case Stage.WRITTEN:
                return _judge_written(case)
    except (UnknownModel, UnknownFeature, UnknownCompat, UnsupportedArch) as exc:
        return [_finding_of(exc, case)]


def _is_open(case: Case) -> bool:
    """Whether the guest takes what there is; libvirt compares nothing then (spec 8.3)."""
    return case.asked.mode in (Mode.HOST_PASSTHROUGH, Mode.MAXIMUM)


def _finding_of(exc: GuardError, case: Case) -> Finding:
    hint = exc.hint or "correct the name, or update this host's libvirt, which does not know it"
    model = case.asked.model or ""
    match exc:
        case UnknownModel():
            return Finding(Code.UNKNOWN_MODEL, model, str(exc), hint)
        case UnknownFeature():
            return Finding(Code.UNKNOWN_FEATURE, str(exc).rpartition(" ")[2], str(exc), hint)
        case UnknownCompat():
            return Finding(Code.COMPAT_MODE, model, str(exc), hint)
        case _:
            return Finding(Code.UNCHECKED, case.guest.arch, str(exc), exc.hint)


def _judge_in_force(case: Case) -> list[Finding]:
    """All that the guest has must be here; libvirt finds out when QEMU runs already."""
    if _is_unknown(case):
        return _findings(case, Comparison(CompareResult.UNCHECKED))
    found: list[Comparison] = []
    accepted, vendor = case.reference.accepted, case.asked.vendor
    if case.guest.virt_type == KVM and vendor and accepted and vendor != accepted.vendor:
        found.append(Comparison.incompatible(Difference.VENDOR, vendor))
    if present := _forbidden(case):
        found.append(Comparison.incompatible(Difference.FORBIDDEN, *present))
    if missing := _missing(case):
        found.append(Comparison.incompatible(Difference.MISSING, *missing))
    return [finding for comparison in found for finding in _findings(case, comparison)]


def _is_unknown(case: Case) -> bool:
    """Whether libvirt tells nothing at all of what the host can give."""
    return case.reference.accepted is None and case.reference.hypervisor.host_model is None


def _forbidden(case: Case) -> list[str]:
    """Name the forbidden features that the host's CPU lists: libvirt looks for them only there.

    Those that its model implies do not count (spec cpu-x86, 8.3 step 5).
    """
    accepted, forbidden = case.reference.accepted, case.asked.named(FeaturePolicy.FORBID)
    if accepted is None or not forbidden:
        return []
    listed = {n for n, p in accepted.features.items() if p is not FeaturePolicy.DISABLE}
    return sorted(forbidden & listed)


def _judge_written(case: Case) -> list[Finding]:
    if not cpu.has_features(case.guest.arch):
        found = _findings(case, _compare(case))
        if check_in_effect(case.guest, case.asked) is not Check.NONE:
            return found
        return [f if f.code.is_doubt else f._replace(code=Code.SILENT_DOWNGRADE) for f in found]
    if _is_unknown(case):
        return _findings(case, Comparison(CompareResult.UNCHECKED))
    if check_in_effect(case.guest, case.asked) is not Check.NONE:
        comparison = _compare_start(case)
        if comparison.result is CompareResult.INCOMPATIBLE:
            return _findings(case, comparison)
    return _downgrade(case, _missing(case))


def _compare_start(case: Case) -> Comparison:
    """Say what libvirt's check at a start would (spec cpu-x86, 4.1 and 8.3)."""
    if present := _forbidden(case):
        return Comparison.incompatible(Difference.FORBIDDEN, *present)
    if _is_open(case) or _is_usable_as_is(case):
        return Comparison(CompareResult.SUPERSET)
    return _compare(case)


def compare_with_hypervisor(case: Case) -> Comparison:
    """Say what libvirt's compareHypervisorCPU would of the case's CPU (spec cpu-x86, 7.6).

    Raises what `cpu.compare` raises.
    """
    reported = case.reference.hypervisor.host_model
    case = case._replace(reference=case.reference._replace(accepted=reported))
    if _is_usable_as_is(case):
        return Comparison(CompareResult.SUPERSET)
    return _compare(case)


def _is_usable_as_is(case: Case) -> bool:
    """QEMU has all of the model, and nothing is asked beyond it (spec cpu-x86, 4.1 step 1)."""
    if not cpu.asks_qemu(case.cpu_map, case.guest.arch):
        return False
    support = case.reference.hypervisor.models.get(case.asked.model or "")
    is_usable = support is not None and support.usable is Usable.YES
    return is_usable and all(p is FeaturePolicy.DISABLE for p in case.asked.features.values())


def _compare(case: Case) -> Comparison:
    """Compare as libvirt's check='partial' does at a start (spec cpu-x86, 4.1)."""
    if case.reference.accepted is None:
        is_offered = case.asked.model in case.reference.hypervisor.models
        is_emulated = is_offered and case.guest.virt_type != KVM
        # no CPU to compare with, as for another architecture under TCG: QEMU's word counts
        return Comparison(CompareResult.IDENTICAL if is_emulated else CompareResult.UNCHECKED)
    blockers = _blockers(case)
    if blockers is None:
        return cpu.compare(case.cpu_map, case.guest.arch, case.reference.accepted, case.asked)
    required = (n for n, p in case.asked.features.items() if p is FeaturePolicy.REQUIRE)
    missing = [n for n in blockers if case.asked.features.get(n) is not FeaturePolicy.DISABLE]
    missing += [name for name in required if name not in case.reference.gives]
    if missing:
        return Comparison.incompatible(Difference.MISSING, *dict.fromkeys(missing))
    return Comparison(CompareResult.SUPERSET)


def _blockers(case: Case) -> tuple[str, ...] | None:
    """Give QEMU's blockers of the model where libvirt goes by them instead of comparing."""
    support = case.reference.hypervisor.models.get(case.asked.model or "")
    if case.asked.model is None or support is None or support.blockers is None:
        return None
    if cpu.compat_check(case.cpu_map, case.guest.arch, case.asked.model):
        return None
    return support.blockers


def _missing(case: Case) -> tuple[str, ...]:
    """Name the features that the guest requires and QEMU here cannot give, in map order."""
    host_model = case.reference.hypervisor.host_model
    if host_model is None:
        return ()
    wanted = _wanted(case.asked)
    names = cpu.compare(case.cpu_map, case.guest.arch, host_model, wanted).subjects
    if not names:
        return ()
    harmless = ONLY_BY_NAME | cpu.hidden_features(case.cpu_map, case.guest.arch, case.asked)
    if case.asked.model is not None:
        harmless |= model_gives(case.cpu_map, case.reference, case.guest.arch, case.asked.model)
    return tuple(name for name in names if name not in harmless)


@lru_cache(maxsize=REMEMBERED)
def _wanted(asked: CPUDef) -> CPUDef:
    """Give *asked* with no more than what QEMU is asked for."""
    features = {
        name: policy
        for name, policy in asked.features.items()
        if policy is not FeaturePolicy.FORBID and name not in IGNORED_BY_LIBVIRT
    }
    return asked._replace(vendor=None, match=Match.EXACT, features=MappingProxyType(features))


def _downgrade(case: Case, missing: Iterable[str]) -> list[Finding]:
    return [
        Finding(
            Code.SILENT_DOWNGRADE,
            name,
            f"the guest asks for {name}, and QEMU on this host ({case.reference.label}) drops it",
            "set policy='disable' for what the guest can do without, or check='full' to refuse a"
            " start without it",
        )
        for name in missing
    ]


def _findings(case: Case, comparison: Comparison) -> list[Finding]:
    """Turn a comparison into findings, one for each name it gives."""
    host = case.reference.label
    if comparison.result is CompareResult.UNCHECKED:
        sentence = f"libvirt tells nothing to compare with on this host ({host})"
        if case.guest.arch in PPC64 and case.reference.accepted is not None:
            sentence = f"only the family of this host's processor is known ({host}), not its PVR"
        return [Finding(Code.UNCHECKED, case.guest.arch, sentence)]
    if comparison.difference is Difference.UNKNOWN_HOST:
        sentence = "libvirt could not name this host's CPU, so nothing can be compared with it"
        return [Finding(Code.UNKNOWN_HOST, host, sentence)]
    if comparison.difference is None:
        return []
    sentence, hint = _WORDS[comparison.difference]
    return [
        Finding(
            Code(comparison.difference.value),
            name,
            sentence.format(name=name, host=host),
            hint,
        )
        for name in comparison.subjects
    ]
