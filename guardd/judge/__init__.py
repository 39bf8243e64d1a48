"""CheckRequest, HostSnapshot and Policy to a Verdict: the one place that decides."""

from __future__ import annotations

from typing import NamedTuple

from guardd.cpu import CPUMap
from guardd.cpu.definition import CPUDef, Mode
from guardd.errors import GuardError
from guardd.facts.domain import Guest, parse_domain
from guardd.facts.domcaps import HypervisorKey
from guardd.facts.snapshot import HostSnapshot, Origin
from guardd.judge.case import Case, Rule
from guardd.judge.ceiling import judge_ceiling
from guardd.judge.compatibility import judge_compatibility
from guardd.judge.finding import CheckRequest, Code, Decision, Enforcement, Finding, Verdict
from guardd.judge.history import judge_history
from guardd.judge.limits import judge_limits, judge_seen_limits
from guardd.judge.policy import Policy, apply_policy, bound_for, bounded, lenient
from guardd.judge.pool import judge_pool
from guardd.judge.reference import Reference, build_reference, find_hypervisor
from guardd.judge.revert import LENIENCY, is_revert, shows_cpu_in_force
from guardd.judge.stage import stage_of
from guardd.judge.stamp import heed_stamp, with_stamped_cpu
from guardd.judge.support import judge_support

__all__ = ["judge", "judge_failed", "judge_guest", "judge_later"]

# of what the guest's definition asks for
RULES: tuple[Rule, ...] = (judge_compatibility, judge_ceiling, judge_limits, judge_pool)
# of what the guest has seen since it booted, by its stamp
STAMP_RULES: tuple[Rule, ...] = (judge_history, judge_seen_limits)

# why a verdict was held back, whatever the mode
STALE = "this host has changed since the snapshot that is known of it"
OTHER_EMULATOR = "what is known is of another emulator than the guest's"
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
    return judge_guest(request, guest, snapshot, policy, cpu_map)


def judge_guest(
    request: CheckRequest,
    guest: Guest,
    snapshot: HostSnapshot | None,
    policy: Policy,
    cpu_map: CPUMap,
) -> Verdict:
    """Do the same for a *guest* that was read already; the XML of *request* is not looked at."""
    if snapshot is None:
        sentence = "nothing is known of this host: libvirt was never reached and nothing was kept"
        finding = Finding(Code.UNKNOWN_HOST, request.domain, sentence, _HINT_NO_SNAPSHOT)
        return _verdict(request, guest, policy, [finding])
    leniency = ""
    if snapshot.origin is Origin.STALE:
        policy, leniency = lenient(policy), STALE
    key = HypervisorKey(guest.virt_type, guest.arch, guest.machine, guest.emulator)
    found = find_hypervisor(snapshot, key)
    if found is None:
        sentence = f"nothing is known yet of {guest.virt_type} guests of {guest.arch} on this host"
        hint = "libvirt is being asked; try again, and see `cpu-guardctl host`"
        finding = Finding(Code.UNKNOWN_HYPERVISOR, guest.arch, sentence, hint)
        return _verdict(request, guest, policy, [finding], _Known(unseen=key))
    hypervisor, exact = found
    if guest.emulator not in (None, hypervisor.emulator):
        # another QEMU may have more: a guess refuses nobody
        policy, leniency = lenient(policy), leniency or OTHER_EMULATOR
    try:
        reference = build_reference(cpu_map, snapshot, hypervisor, exact=exact)
        findings, is_soft = _judge_guest(request, guest, snapshot, policy, cpu_map, reference)
    except GuardError as exc:
        finding = Finding(Code.UNCHECKED, guest.arch, str(exc), exc.hint)
        return _verdict(request, guest, policy, [finding])
    if is_soft:
        leniency = leniency or LENIENCY
    known = _Known(reference.label, reference.source, None if exact else key, leniency)
    return _verdict(request, guest, policy, findings, known)


def judge_later(request: CheckRequest) -> Verdict:
    """Give the verdict for a *request* about a `restore`: none, its `prepare` is judged.

    libvirt 11.3.0 deletes the image of a managed save that is refused any earlier.
    """
    return Verdict(
        domain=request.domain,
        operation=request.operation,
        decision=Decision.ALLOW,
        refused=False,
        source="judged at its prepare",
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
) -> tuple[list[Finding], bool]:
    """Give what is found, and whether it is bounded because a guest is reverted to a snapshot."""
    asked = guest.cpu or CPUDef()
    case = Case(
        cpu_map=cpu_map,
        policy=policy,
        snapshot=snapshot,
        guest=guest,
        asked=asked,
        stage=stage_of(request, guest, asked),
        reference=reference,
        operation=request.operation,
        arrives=request.arrives,
    )
    stamp, doubts = heed_stamp(case)
    if stamp is not None:
        case = with_stamped_cpu(case._replace(stamp=stamp))
    of_definition, is_judged = _judge_definition(case)
    of_history = [*doubts]
    if is_judged:
        of_history += [finding for rule in STAMP_RULES for finding in rule(case)]
    is_soft = is_revert(case)
    if is_soft:
        of_history = bounded(of_history, policy.on_revert)
        if shows_cpu_in_force(case):
            of_definition = bounded(of_definition, policy.on_revert)
    return of_definition + of_history, is_soft and policy.on_revert is not Enforcement.ENFORCE


def _judge_definition(case: Case) -> tuple[list[Finding], bool]:
    """Give what is found, and whether the guest's CPU could be looked at."""
    if _is_default(case.asked):
        return judge_limits(case), True
    # a model that QEMU does not have has no features that could be looked at
    if unsupported := judge_support(case):
        return unsupported, False
    return [finding for rule in RULES for finding in rule(case)], True


def _is_default(asked: CPUDef) -> bool:
    """Tell a <cpu> with only a topology or a cache: QEMU's default model, nothing is asked for."""
    return asked.mode is Mode.CUSTOM and asked.model is None


class _Known(NamedTuple):
    """What a verdict says of the host, and why it was lenient for what is known of it."""

    host_cpu: str = ""
    source: str = ""
    unseen: HypervisorKey | None = None
    leniency: str = ""


def _verdict(
    request: CheckRequest,
    guest: Guest | None,
    policy: Policy,
    findings: list[Finding],
    known: _Known = _Known(),  # noqa: B008 (it cannot change)
) -> Verdict:
    uuid = (guest.uuid if guest else None) or ""
    wanted = guest.wanted_mode if guest else ""
    bound = bound_for(policy, request.domain, uuid, wanted)
    outcome = apply_policy(policy, bound, findings)
    return Verdict(
        domain=request.domain,
        uuid=uuid,
        operation=request.operation,
        decision=outcome.decision,
        refused=outcome.refused,
        would_refuse=outcome.would_refuse,
        leniency=(known.leniency or _leniency(bound)) if outcome.would_refuse else "",
        findings=outcome.findings,
        guest_cpu="" if guest is None else _guest_label(guest),
        host_cpu=known.host_cpu,
        source=known.source,
        unseen=known.unseen,
        guest=guest,
    )


def _leniency(bound: Enforcement) -> str:
    return "" if bound is Enforcement.ENFORCE else f"the mode for this guest is {bound}"


def _guest_label(guest: Guest) -> str:
    asked = guest.cpu
    if asked is None or _is_default(asked):
        return "QEMU's default CPU"
    return asked.model or str(asked.mode)
