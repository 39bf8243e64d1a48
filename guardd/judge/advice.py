"""What a guest's definition will lead to one day, said when it is written and not when it is late.

What libvirt writes into a definition by itself, and what QEMU refuses to migrate and to save, was
measured with libvirt 9.0.0 and QEMU 7.2, and libvirt 11.3.0 and QEMU 10.
"""

from __future__ import annotations

from guardd.cpu import CPUMap
from guardd.cpu.definition import Check, CPUDef, Fallback, Mode
from guardd.cpu.families import X86
from guardd.errors import GuardError
from guardd.facts.domain import Guest
from guardd.facts.domcaps import HypervisorKey
from guardd.facts.snapshot import HostSnapshot
from guardd.facts.stamp import NAMESPACE
from guardd.judge.birth import OPEN_MODES, open_features
from guardd.judge.finding import Code, Finding, Verdict
from guardd.judge.policy import Policy, apply_policy, bound_for
from guardd.judge.reference import KVM, build_reference, find_hypervisor

INVTSC = "invtsc"
# QEMU's default models of x86; libvirt writes the machine's into a definition without any
# (spec cpu-x86, 8.1)
DEFAULT_MODELS = frozenset({"qemu64", "qemu32"})

# doubts that belong to this host and the moment, not to the definition
_PASSING = frozenset(
    {
        Code.UNKNOWN_HOST,
        Code.UNKNOWN_HYPERVISOR,
        Code.UNCHECKED,
        Code.UNSTAMPED,
        Code.INTERNAL,
    }
)


def advise(
    guest: Guest, verdict: Verdict, snapshot: HostSnapshot, policy: Policy, cpu_map: CPUMap
) -> tuple[Finding, ...]:
    """Say what the definition of *guest* will lead to.

    *verdict* is that of a start here now, of which the findings come first; *snapshot*, *policy*
    and *cpu_map* are those that it was judged by. Never raises a GuardError: what cannot be told is
    no advice.
    """
    own = _copied(guest)
    if guest.virt_type == KVM and _is_x86(guest):
        # an emulated CPU has no invtsc, and without a <cpu> it is the same on every host
        own += [*_never_migrates(guest, snapshot, cpu_map), *_careless(guest)]
    bound = bound_for(policy, guest.name, guest.uuid or "", guest.wanted_mode)
    weighed = apply_policy(policy, bound, own).findings
    replaced = {finding.code for finding in own}
    if Code.NEVER_MIGRATES in replaced and not verdict.refused:
        replaced.add(Code.INVTSC)  # the same trouble, with another way out
    return (*(finding for finding in judged(verdict) if finding.code not in replaced), *weighed)


def judged(verdict: Verdict) -> tuple[Finding, ...]:
    """Give those findings of *verdict* on a start now that are worth telling of a definition."""
    if verdict.refused:
        return verdict.findings
    return tuple(finding for finding in verdict.findings if finding.code not in _PASSING)


def _is_x86(guest: Guest) -> bool:
    return guest.arch in X86


def _never_migrates(guest: Guest, snapshot: HostSnapshot, cpu_map: CPUMap) -> list[Finding]:
    """Find what makes QEMU refuse to migrate: of a <cpu> it is invtsc at no fixed frequency.

    Where it is asked for by name, the verdict says so.
    """
    asked = guest.cpu
    if asked is None or guest.tsc_frequency is not None or asked.features.get(INVTSC) is not None:
        return []
    if asked.mode not in OPEN_MODES or asked.migratable is not False:
        return []
    if not _sees_invtsc(guest, asked, snapshot, cpu_map):
        return []
    sentence = (
        "on this host it gets invtsc, with which QEMU neither migrates nor saves it while its TSC"
        " frequency is not fixed"
    )
    hint = (
        f"set migratable='on', or policy='disable' for {INVTSC}, or give <timer name='tsc'"
        " frequency='HZ'/> in <clock> with the frequency of `virsh capabilities`"
    )
    return [Finding(Code.NEVER_MIGRATES, "migratable='off'", sentence, hint)]


def _sees_invtsc(guest: Guest, asked: CPUDef, snapshot: HostSnapshot, cpu_map: CPUMap) -> bool:
    key = HypervisorKey(guest.virt_type, guest.arch, guest.machine, guest.emulator)
    found = find_hypervisor(snapshot, key)
    if found is None:
        return False
    try:
        reference = build_reference(cpu_map, snapshot, found[0], exact=found[1])
        return INVTSC in open_features(cpu_map, guest, asked, snapshot, reference)
    except GuardError:
        return False


def _careless(guest: Guest) -> list[Finding]:
    """Find a <cpu> that leaves to QEMU what the guest gets."""
    asked = guest.cpu
    if is_default(asked):
        model = "" if asked is None else asked.model or ""
        sentence = (
            "without a CPU model the guest gets QEMU's default: old, slow for want of newer"
            " instructions, and never compared with any host"
        )
        hint = "set <cpu mode='host-model'/>, or a named model that all of its hosts have"
        return [Finding(Code.DEFAULT_CPU, model or "qemu64", sentence, hint)]
    if asked is None or asked.mode is not Mode.CUSTOM or asked.check is not Check.NONE:
        return []
    sentence = (
        "with check='none' nobody looks whether a host has the model: QEMU leaves out what it"
        " lacks, and the guest finds out"
    )
    hint = "use check='partial', libvirt's default on KVM, or check='full'"
    return [Finding(Code.NO_CHECK, asked.model or "", sentence, hint)]


def is_default(asked: CPUDef | None) -> bool:
    """Whether nobody chose a CPU: there is none, no model, or just what libvirt then writes."""
    if asked is None or (asked.mode is Mode.CUSTOM and asked.model is None):
        return True
    is_written_by_libvirt = asked.check is Check.NONE and asked.fallback is Fallback.FORBID
    return is_written_by_libvirt and asked.model in DEFAULT_MODELS and not asked.features


def _copied(guest: Guest) -> list[Finding]:
    """Find the stamp in a definition: only a guest that runs or was saved has seen anything."""
    if guest.stamp is None and not guest.stamp_problem:
        return []
    sentence = guest.stamp_problem or "the definition holds the stamp of a guest that was running"
    if guest.cpu is not None and guest.cpu.mode is Mode.CUSTOM and guest.cpu.check is Check.FULL:
        sentence += ", and its <cpu> may be the one that the guest had then"
    hint = (
        f"take it out with `virsh metadata '{guest.name}' {NAMESPACE} --remove --config`, and see"
        " in `virsh edit` what else came from a running guest's XML"
    )
    return [Finding(Code.BAD_STAMP, guest.name, sentence, hint)]
