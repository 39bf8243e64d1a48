"""What this host's administrator wants done about findings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import NamedTuple

from guardd.cpu.definition import Arch, CPUDef
from guardd.judge.finding import Answer, Code, Decision, Enforcement, Finding

# a rule that is not named here enforces
DEFAULT_RULES: Mapping[Code, Enforcement] = MappingProxyType(
    {
        Code.SILENT_DOWNGRADE: Enforcement.WARN,
        Code.NEW_FEATURE: Enforcement.WARN,
        Code.TSC_CHANGE: Enforcement.WARN,
        Code.INVTSC: Enforcement.OBSERVE,
        Code.NEVER_MIGRATES: Enforcement.OBSERVE,
        Code.NO_CHECK: Enforcement.OBSERVE,
        Code.DEFAULT_CPU: Enforcement.OBSERVE,
    }
)

_by = (Enforcement.OBSERVE, Enforcement.WARN, Enforcement.ENFORCE).index


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceiling:
    """A CPU that no guest of *arch*'s family may exceed."""

    arch: Arch
    cpu: CPUDef


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """`mode` bounds every rule of the host; `guests`, by name or UUID, replaces it for one guest.

    A UUID is in lower case there.

    `rules` are the modes of single rules; `on_cannot_tell` answers where findings are doubts.
    """

    mode: Enforcement = Enforcement.ENFORCE
    rules: Mapping[Code, Enforcement] = field(default_factory=lambda: DEFAULT_RULES)
    guests: Mapping[str, Enforcement] = field(default_factory=lambda: MappingProxyType({}))
    on_cannot_tell: Answer = Answer.ALLOW
    ceilings: tuple[Ceiling, ...] = ()


def bound_for(policy: Policy, name: str, uuid: str) -> Enforcement:
    """Give the mode that bounds every rule for this guest; its UUID is looked up first."""
    return policy.guests.get(uuid.lower(), policy.guests.get(name, policy.mode))


def lenient(policy: Policy) -> Policy:
    """Give *policy* for a host that is known too badly to refuse anybody: it only warns."""
    guests = {key: min(mode, Enforcement.WARN, key=_by) for key, mode in policy.guests.items()}
    return replace(
        policy,
        mode=min(policy.mode, Enforcement.WARN, key=_by),
        guests=MappingProxyType(guests),
    )


class Outcome(NamedTuple):
    """What findings lead to: they with their modes, the decision, and what of a Verdict follows."""

    findings: tuple[Finding, ...]
    decision: Decision
    refused: bool
    would_refuse: bool


def apply_policy(policy: Policy, bound: Enforcement, findings: Iterable[Finding]) -> Outcome:
    """Set each finding's mode, at most *bound*, and decide.

    It would refuse where a finding that enforces by default, or by *policy*, does not by a mode.
    """
    weighed = tuple(replace(f, mode=_mode(policy, bound, f.code)) for f in findings)
    if any(f.mode is Enforcement.ENFORCE and not f.code.is_doubt for f in weighed):
        return Outcome(weighed, Decision.DENY, refused=True, would_refuse=False)
    held_back = any(_is_held_back(policy, f) for f in weighed)
    is_strict = policy.on_cannot_tell is Answer.DENY
    if any(f.code.is_doubt for f in weighed):
        refused = is_strict and bound is Enforcement.ENFORCE
        would_refuse = not refused and (held_back or is_strict)
        return Outcome(weighed, Decision.CANNOT_TELL, refused, would_refuse)
    if any(f.mode is Enforcement.WARN for f in weighed):
        return Outcome(weighed, Decision.WARN, refused=False, would_refuse=held_back)
    return Outcome(weighed, Decision.ALLOW, refused=False, would_refuse=held_back)


def _is_held_back(policy: Policy, finding: Finding) -> bool:
    by_default = DEFAULT_RULES.get(finding.code, Enforcement.ENFORCE)
    by_rule = policy.rules.get(finding.code, by_default)
    return not finding.code.is_doubt and Enforcement.ENFORCE in (by_default, by_rule)


def _mode(policy: Policy, bound: Enforcement, code: Code) -> Enforcement:
    rule = policy.rules.get(code, DEFAULT_RULES.get(code, Enforcement.ENFORCE))
    return min(rule, bound, key=_by)
