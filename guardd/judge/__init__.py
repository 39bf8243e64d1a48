"""CheckRequest, HostSnapshot and Policy to a Verdict: the one place that decides."""

from __future__ import annotations

from guardd.cpu import CPUMap
from guardd.cpu.definition import CPUDef, Mode
from guardd.errors import GuardError
from guardd.facts.domain import Guest, parse_domain
from guardd.facts.snapshot import HostSnapshot
from guardd.judge.case import Case, Rule
from guardd.judge.ceiling import judge_ceiling
from guardd.judge.compatibility import judge_compatibility
from guardd.judge.finding import CheckRequest, Code, Finding, Verdict
from guardd.judge.policy import Policy, apply_policy, bound_for
from guardd.judge.reference import Reference, build_reference, find_hypervisor
from guardd.judge.stage import check_in_effect, stage_of
from guardd.judge.support import judge_support

__all__ = ["judge"]

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
        return _verdict(request, None, policy, [finding], None)
    if snapshot is None:
        sentence = "nothing is known of this host: libvirt was never reached and nothing was kept"
        finding = Finding(Code.UNKNOWN_HOST, request.domain, sentence, _HINT_NO_SNAPSHOT)
        return _verdict(request, guest, policy, [finding], None)
    findings, reference = _judge_guest(request, guest, snapshot, policy, cpu_map)
    return _verdict(request, guest, policy, findings, reference)


def _judge_guest(
    request: CheckRequest, guest: Guest, snapshot: HostSnapshot, policy: Policy, cpu_map: CPUMap
) -> tuple[list[Finding], Reference | None]:
    found = find_hypervisor(snapshot, guest)
    if found is None:
        sentence = f"nothing is known yet of {guest.virt_type} guests of {guest.arch} on this host"
        hint = "it is being learned; try again, and see `cpu-guardctl host`"
        return [Finding(Code.UNKNOWN_HYPERVISOR, guest.arch, sentence, hint)], None
    try:
        reference = build_reference(cpu_map, snapshot, found[0], exact=found[1])
        asked = guest.cpu
        if asked is None or _is_default(asked):
            return [], reference
        stage = stage_of(request.operation, guest, asked)
    except GuardError as exc:
        return [Finding(Code.UNCHECKED, guest.arch, str(exc), exc.hint)], None
    case = Case(
        cpu_map=cpu_map,
        policy=policy,
        snapshot=snapshot,
        guest=guest,
        asked=asked,
        stage=stage,
        reference=reference,
    )
    # a model that QEMU does not have has no features that could be looked at
    findings = judge_support(case) or [finding for rule in RULES for finding in rule(case)]
    return findings, reference


def _is_default(asked: CPUDef) -> bool:
    """Tell a <cpu> with only a topology or a cache: QEMU's default model, nothing is asked for."""
    return asked.mode is Mode.CUSTOM and asked.model is None


def _verdict(
    request: CheckRequest,
    guest: Guest | None,
    policy: Policy,
    findings: list[Finding],
    reference: Reference | None,
) -> Verdict:
    uuid = (guest.uuid if guest else None) or ""
    bound = bound_for(policy, request.domain, uuid)
    weighed, decision, refused = apply_policy(policy, bound, findings)
    return Verdict(
        domain=request.domain,
        uuid=uuid,
        operation=request.operation,
        decision=decision,
        refused=refused,
        findings=weighed,
        guest_cpu="" if guest is None else _guest_label(guest),
        host_cpu=reference.label if reference else "",
        source=reference.source if reference else "",
    )


def _guest_label(guest: Guest) -> str:
    asked = guest.cpu
    if asked is None or _is_default(asked):
        return "default"
    name = asked.model or str(asked.mode)
    return f"{name}, check={check_in_effect(guest, asked)}"
