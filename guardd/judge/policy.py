"""What this host's administrator wants done about findings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from guardd.cpu.definition import Arch, CPUDef
from guardd.judge.finding import Answer, Code, Decision, Enforcement, Finding

# a rule that is not named here enforces
DEFAULT_RULES: Mapping[Code, Enforcement] = MappingProxyType(
    {Code.SILENT_DOWNGRADE: Enforcement.WARN}
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


def apply_policy(
    policy: Policy, bound: Enforcement, findings: Iterable[Finding]
) -> tuple[tuple[Finding, ...], Decision, bool]:
    """Set each finding's mode and decide; give (findings, decision, refused)."""
    weighed = tuple(replace(f, mode=_mode(policy, bound, f.code)) for f in findings)
    if any(f.mode is Enforcement.ENFORCE and not f.code.is_doubt for f in weighed):
        return weighed, Decision.DENY, True
    if any(f.code.is_doubt for f in weighed):
        is_strict = policy.on_cannot_tell is Answer.DENY and bound is Enforcement.ENFORCE
        return weighed, Decision.CANNOT_TELL, is_strict
    if any(f.mode is Enforcement.WARN for f in weighed):
        return weighed, Decision.WARN, False
    return weighed, Decision.ALLOW, False


def _mode(policy: Policy, bound: Enforcement, code: Code) -> Enforcement:
    rule = policy.rules.get(code, DEFAULT_RULES.get(code, Enforcement.ENFORCE))
    return min(rule, bound, key=_by)
