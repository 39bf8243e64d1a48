"""The rule that no guest may have more CPU than the administrator's ceiling."""

from __future__ import annotations

from guardd import cpu
from guardd.cpu import CPUMap
from guardd.cpu.definition import Arch, CPUDef, FeaturePolicy, Mode
from guardd.cpu.families import PPC64
from guardd.errors import BadConfig, GuardError
from guardd.judge.case import Case
from guardd.judge.compatibility import IGNORED_BY_LIBVIRT
from guardd.judge.finding import Code, Finding
from guardd.judge.generation import guest_generation, model_generation
from guardd.judge.in_force import features_in_force
from guardd.judge.policy import Ceiling
from guardd.judge.reference import KVM, ONLY_BY_NAME
from guardd.judge.stage import Stage

# what QEMU and KVM make themselves, on any silicon: it says nothing of how new a CPU is (Linux
# Documentation/virt/kvm/x86/cpuid.rst, and KVM_GET_SUPPORTED_CPUID in api.rst)
MADE_BY_HYPERVISOR = frozenset(
    {"hypervisor", "x2apic", "tsc-deadline", "tsc_adjust", "arat", "umip"}
)
# what every CPU with VT-x or AMD-V has, though not every model in libvirt's map says so
IN_EVERY_HOST = frozenset({"apic", "cx16", "lahf_lm", "mca", "vme"})
BELOW_EVERY_CEILING = MADE_BY_HYPERVISOR | IN_EVERY_HOST | IGNORED_BY_LIBVIRT | ONLY_BY_NAME


def judge_ceiling(case: Case) -> list[Finding]:
    """Find what the guest would have beyond the ceiling of its architecture, if there is one."""
    ceiling = _ceiling_for(case)
    if ceiling is None:
        return []
    try:
        if cpu.has_features(case.guest.arch):
            return _judge_features(case, ceiling)
        return _judge_generation(case, ceiling)
    except GuardError as exc:
        sentence = f"the guest's CPU cannot be held against the ceiling: {exc}"
        return [Finding(Code.UNCHECKED, ceiling.cpu.model or "", sentence, exc.hint)]


def validate_ceiling(cpu_map: CPUMap, ceiling: Ceiling) -> None:
    """Raise BadConfig where *ceiling* cannot be used with this CPU map."""
    if not _has_order(ceiling.arch):
        raise BadConfig(f"ceiling for {ceiling.arch}: its CPUs are not older or newer to libvirt")
    try:
        if cpu.has_features(ceiling.arch):
            cpu.features(cpu_map, ceiling.arch, ceiling.cpu)
        else:
            _ceiling_generation(ceiling)
    except GuardError as exc:
        raise BadConfig(f"ceiling for {ceiling.arch}: {exc}") from exc


def _has_order(arch: Arch) -> bool:
    """Whether one CPU of *arch* can be told to have more than another."""
    return cpu.has_features(arch) or arch in PPC64


def _ceiling_for(case: Case) -> Ceiling | None:
    for ceiling in case.policy.ceilings:
        if cpu.same_family(ceiling.arch, case.guest.arch) and _has_order(ceiling.arch):
            return ceiling
    return None


def _judge_features(case: Case, ceiling: Ceiling) -> list[Finding]:
    allowed = cpu.features(case.cpu_map, case.guest.arch, ceiling.cpu)
    above = _features_in_force(case, ceiling) - allowed - BELOW_EVERY_CEILING
    hint = f"use {ceiling.cpu.model} or an older CPU model, or set policy='disable'"
    return [_above(name, ceiling, hint) for name in sorted(above)]


def _features_in_force(case: Case, ceiling: Ceiling) -> frozenset[str]:
    if (
        case.stage is Stage.IN_FORCE
        and case.asked.mode is Mode.CUSTOM
        and _is_trusted(case, ceiling)
    ):
        off = case.asked.named(FeaturePolicy.DISABLE, FeaturePolicy.FORBID)
        return cpu.features(case.cpu_map, case.guest.arch, CPUDef(model=case.asked.model)) - off
    return features_in_force(case)


def _is_trusted(case: Case, ceiling: Ceiling) -> bool:
    """Whether what the guest has beyond its model is QEMU's own doing, and no sign of a newer CPU.

    QEMU gives some models more than libvirt's map knows of, and TCG gives everybody more. That it
    made the list shows in `hypervisor`, which every list of its making has.
    """
    is_alike = case.asked.model == ceiling.cpu.model or case.guest.virt_type != KVM
    return is_alike and "hypervisor" in case.asked.features


def _judge_generation(case: Case, ceiling: Ceiling) -> list[Finding]:
    """PowerPC: a guest's generation may not be newer than the ceiling's."""
    name, found = guest_generation(case)
    if found is None:
        sentence = f"the generation of {name} is not known, so no ceiling can be applied"
        return [Finding(Code.UNCHECKED, name, sentence)]
    if found <= _ceiling_generation(ceiling):
        return []
    return [_above(name, ceiling, f"use {ceiling.cpu.model} or an older CPU model")]


def _ceiling_generation(ceiling: Ceiling) -> int:
    found = model_generation(ceiling.cpu.model or "")
    if found is None:
        raise BadConfig(f"{ceiling.cpu.model!r} is not one of POWER6 to POWER10")
    return found


def _above(name: str, ceiling: Ceiling, hint: str) -> Finding:
    sentence = f"the guest would have {name}, above this host's ceiling ({ceiling.cpu.model})"
    return Finding(Code.ABOVE_CEILING, name, sentence, hint)
