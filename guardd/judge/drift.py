"""Which guests a changed host would refuse that it did not refuse before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from guardd import cpu
from guardd.cpu import CPUMap
from guardd.cpu.definition import Check, CPUDef, FeaturePolicy, Match, Mode
from guardd.errors import GuardError
from guardd.facts.domain import Guest, parse_domain
from guardd.facts.domcaps import HypervisorKey
from guardd.facts.snapshot import HostSnapshot, Origin
from guardd.facts.states import GuestState, Standing
from guardd.judge import judge, judge_guest
from guardd.judge.birth import OPEN_MODES
from guardd.judge.finding import CheckRequest, Decision, Operation, Verdict
from guardd.judge.policy import Policy
from guardd.judge.reference import Reference, build_reference, find_hypervisor, model_gives

# what the hook would be asked, in this order, for a guest in this state to run here again
_OPERATIONS = {
    Standing.DEFINED: (Operation.PREPARE,),
    Standing.RUNNING: (Operation.MIGRATE, Operation.PREPARE),
    Standing.SAVED: (Operation.RESTORE, Operation.PREPARE),
    # libvirt asks with `prepare` alone, but it brings back what was saved
    Standing.SNAPSHOT: (Operation.RESTORE, Operation.PREPARE),
}


class Effect(StrEnum):
    """What a change of the host means for one state of a guest."""

    AFFECTED = "affected"  # refused now, and not before
    STILL_REFUSED = "still-refused"
    FREED = "freed"
    DOUBTFUL = "doubtful"  # nobody can tell, now
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One state of a guest, and the verdict on it by the host as it was and as it is."""

    state: GuestState
    before: Verdict
    now: Verdict

    @property
    def effect(self) -> Effect:
        """Say what the change means for it; what a mode holds back counts as refused."""
        match _is_refused(self.before), _is_refused(self.now):
            case False, True:
                return Effect.AFFECTED
            case True, True:
                return Effect.STILL_REFUSED
            case _ if self.now.decision is Decision.CANNOT_TELL:
                return Effect.DOUBTFUL
            case True, False:
                return Effect.FREED
            case _:
                return Effect.NONE


def judge_all(
    states: Iterable[GuestState],
    before: HostSnapshot,
    now: HostSnapshot,
    policy: Policy,
    cpu_map: CPUMap,
) -> Iterator[Judged]:
    """Judge each state by *before* and by *now*, as if both were known for sure.

    Never raises a GuardError: what cannot be judged is a doubt.
    """
    # an outdated snapshot refuses nobody; here it is not what it is held for
    before, now = (each._replace(origin=Origin.LIBVIRT) for each in (before, now))
    for state in states:
        guest = _guest_in_force(state, before, cpu_map)
        yield Judged(
            state=state,
            before=_worst(state, guest, before, policy, cpu_map),
            now=_worst(state, guest, now, policy, cpu_map),
        )


def judge_state(state: GuestState, host: HostSnapshot, policy: Policy, cpu_map: CPUMap) -> Verdict:
    """Judge *state* by *host*, as well as that is known; never raises a GuardError.

    One that is off as a start, any other as an arrival, by the CPU in force.
    """
    guest = _guest_in_force(state, host, cpu_map)
    return _worst(state, guest, host, policy, cpu_map)


def _is_refused(verdict: Verdict) -> bool:
    return verdict.refused or verdict.would_refuse


def _worst(
    state: GuestState, guest: Guest | None, host: HostSnapshot, policy: Policy, cpu_map: CPUMap
) -> Verdict:
    """Judge *guest*, None: one that cannot be read, which the verdict on its XML says."""
    verdicts = []
    for operation in _OPERATIONS[state.standing]:
        request = CheckRequest(
            domain=state.name,
            operation=operation,
            xml=state.xml,
            arrives=state.standing is not Standing.DEFINED,
        )
        if guest is None:
            verdicts.append(judge(request, host, policy, cpu_map))
        else:
            verdicts.append(judge_guest(request, guest, host, policy, cpu_map))
    return max(verdicts, key=_weight)


def _weight(verdict: Verdict) -> tuple[bool, bool, bool]:
    decision = verdict.decision
    return _is_refused(verdict), decision is Decision.CANNOT_TELL, decision is Decision.WARN


# -- the CPU in force


def _guest_in_force(state: GuestState, before: HostSnapshot, cpu_map: CPUMap) -> Guest | None:
    """Give the guest with the CPU that it really has, as far as it can be told; None: unreadable.

    In the XML of a saved guest and of a snapshot libvirt shows the CPU as it was written. The one
    in force travels beside it, and libvirt shows that to the hook alone.
    """
    try:
        guest = parse_domain(state.xml)
    except GuardError:
        return None
    if state.standing is Standing.DEFINED:
        return guest
    try:
        return guest._replace(cpu=_in_force(guest, before, cpu_map))
    except GuardError:
        return guest


def _in_force(guest: Guest, before: HostSnapshot, cpu_map: CPUMap) -> CPUDef | None:
    asked = guest.cpu
    if asked is None or asked.mode in OPEN_MODES or asked.check is Check.FULL:
        return asked
    if not cpu.has_features(guest.arch):
        return asked
    return _by_stamp(guest, asked, cpu_map) or _by_host(guest, asked, before, cpu_map) or asked


def _by_stamp(guest: Guest, asked: CPUDef, cpu_map: CPUMap) -> CPUDef | None:
    stamp = guest.stamp
    if stamp is None or stamp.uuid != (guest.uuid or "").lower():
        return None
    is_known = stamp.model in cpu.models(cpu_map, guest.arch)
    if (
        not is_known
        or not stamp.features
        or cpu.unknown_features(cpu_map, guest.arch, stamp.features)
    ):
        return None
    return _full(guest, asked._replace(model=stamp.model), stamp.features, cpu_map)


def _by_host(guest: Guest, asked: CPUDef, before: HostSnapshot, cpu_map: CPUMap) -> CPUDef | None:
    """Reckon what QEMU made of *asked* on the host as it was: what it could not give is not there.

    It may have been saved elsewhere, or earlier; then this is the best guess.
    """
    key = HypervisorKey(guest.virt_type, guest.arch, guest.machine, guest.emulator)
    found = find_hypervisor(before, key)
    if found is None or found[0].host_model is None:
        return None
    reference = build_reference(cpu_map, before, found[0], exact=found[1])
    if asked.mode is Mode.HOST_MODEL:
        model = found[0].host_model
        asked = model._replace(features=MappingProxyType({**model.features, **asked.features}))
    if asked.model is None:
        return None
    wanted = cpu.features(cpu_map, guest.arch, asked)
    return _full(guest, asked, wanted & _given(cpu_map, reference, guest, asked.model), cpu_map)


def _given(cpu_map: CPUMap, reference: Reference, guest: Guest, model: str) -> frozenset[str]:
    return reference.gives | model_gives(cpu_map, reference, guest.arch, model)


def _full(guest: Guest, asked: CPUDef, features: frozenset[str], cpu_map: CPUMap) -> CPUDef:
    """Write *features* out as libvirt does for a guest that runs."""
    own = cpu.features(cpu_map, guest.arch, CPUDef(model=asked.model))
    policies = dict.fromkeys(sorted(features), FeaturePolicy.REQUIRE)
    policies |= dict.fromkeys(sorted(own - features), FeaturePolicy.DISABLE)
    return asked._replace(
        mode=Mode.CUSTOM,
        match=Match.EXACT,
        check=Check.FULL,
        features=MappingProxyType(policies),
    )
