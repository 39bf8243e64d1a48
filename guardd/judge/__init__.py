"""CheckRequest, HostSnapshot and Policy to a Verdict: the one place that decides."""

from __future__ import annotations

from dataclasses import replace

from guardd.cpu import CPUMap
from guardd.cpu.definition import CPUDef, Mode
from guardd.errors import GuardError
from guardd.facts.domain import Guest, parse_domain
from guardd.facts.domcaps import HypervisorKey
from guardd.facts.snapshot import HostSnapshot, Origin
from guardd.judge.case import Case, Rule
from guardd.judge.ceiling import judge_ceiling
from guardd.judge.compatibility import judge_compatibility
from guardd.judge.finding import CheckRequest, Code, Finding, Verdict
from guardd.judge.policy import Policy, apply_policy, bound_for, lenient
from guardd.judge.reference import Reference, build_reference, find_hypervisor
from guardd.judge.stage import stage_of
from guardd.judge.support import judge_support

__all__ = ["judge", "judge_failed"]

RULES: tuple[Rule, ...] = (judge_compatibility, judge_ceiling)

_HINT_NO_SNAPSHOT = "see `cpu-guardctl status` and the journal of cpu-guardd"


def judge(
    request: CheckRequest, snapshot: HostSnapshot | None, policy: Policy, cpu_map: CPUMap
) -> Verdict:
    """Say whether this host can honour the CPU of the guest in *request*.

    Never raises a GuardError: what cannot be judged is a finding, and *policy* decides.
    *snapshot* None: nothing is known of this host.
    """
    try:
        guest = parse_domain(request.xml)
    except GuardError as exc:
        finding = Finding(Code.UNREADABLE_GUEST, exc.code, str(exc), exc.hint)
        return _verdict(request, None, policy, [finding])
    if snapshot is None:
        sentence = "nothing is known of this host: libvirt was never reached and nothing was kept"
        finding = Finding(Code.UNKNOWN_HOST, request.domain, sentence, _HINT_NO_SNAPSHOT)
        return _verdict(request, guest, policy, [finding])
    if snapshot.origin is Origin.STALE:
        policy = lenient(policy)
    key = HypervisorKey(guest.virt_type, guest.arch, guest.machine, guest.emulator)
    found = find_hypervisor(snapshot, key)
    if found is None:
        sentence = f"nothing is known yet of {guest.virt_type} guests of {guest.arch} on this host"
        hint = "libvirt is being asked; try again, and see `cpu-guardctl host`"
        finding = Finding(Code.UNKNOWN_HYPERVISOR, guest.arch, sentence, hint)
        return replace(_verdict(request, guest, policy, [finding]), unseen=key)
    hypervisor, exact = found
    if guest.emulator not in (None, hypervisor.emulator):
        policy = lenient(policy)  # another QEMU may have more: a guess refuses nobody
    try:
        reference = build_reference(cpu_map, snapshot, hypervisor, exact=exact)
        findings = _judge_guest(request, guest, snapshot, policy, cpu_map, reference)
    except GuardError as exc:
        finding = Finding(Code.UNCHECKED, guest.arch, str(exc), exc.hint)
        return _verdict(request, guest, policy, [finding])
    return replace(
        _verdict(request, guest, policy, findings),
        host_cpu=reference.label,
        source=reference.source,
        unseen=None if exact else key,
    )


def judge_failed(request: CheckRequest, policy: Policy) -> Verdict:
    """Give the verdict for a *request* that a bug kept from being judged: a doubt."""
    sentence = "an error of cpu-guardd kept it from being judged; the journal has the traceback"
    finding = Finding(Code.INTERNAL, request.domain, sentence)
    return _verdict(request, None, policy, [finding])


def _judge_guest(
    request: CheckRequest,
    guest: Guest,
    snapshot: HostSnapshot,
    policy: Policy,
    cpu_map: CPUMap,
    reference: Reference,
) -> list[Finding]:
    asked = guest.cpu
    if asked is None or _is_default(asked):
        return []
    case = Case(
        cpu_map=cpu_map,
        policy=policy,
        snapshot=snapshot,
        guest=guest,
        asked=asked,
        stage=stage_of(request.operation, guest, asked),
        reference=reference,
    )
    # a model that QEMU does not have has no features that could be looked at
    return judge_support(case) or [finding for rule in RULES for finding in rule(case)]


def _is_default(asked: CPUDef) -> bool:
    """Tell a <cpu> with only a topology or a cache: QEMU's default model, nothing is asked for."""
    return asked.mode is Mode.CUSTOM and asked.model is None


def _verdict(
    request: CheckRequest, guest: Guest | None, policy: Policy, findings: list[Finding]
) -> Verdict:
    uuid = (guest.uuid if guest else None) or ""
    bound = bound_for(policy, request.domain, uuid)
    outcome = apply_policy(policy, bound, findings)
    return Verdict(
        domain=request.domain,
        uuid=uuid,
        operation=request.operation,
        decision=outcome.decision,
        refused=outcome.refused,
        would_refuse=outcome.would_refuse,
        findings=outcome.findings,
        guest_cpu="" if guest is None else _guest_label(guest),
    )


def _guest_label(guest: Guest) -> str:
    asked = guest.cpu
    if asked is None or _is_default(asked):
        return "QEMU's default CPU"
    return asked.model or str(asked.mode)
