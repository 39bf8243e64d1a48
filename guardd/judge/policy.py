"""What this host's administrator wants done about findings."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from guardd.cpu.definition import Arch, CPUDef
from guardd.facts.snapshot import HostSnapshot
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

_by = {Enforcement.OBSERVE: 0, Enforcement.WARN: 1, Enforcement.ENFORCE: 2}.__getitem__


class GuestMetadata(StrEnum):
    """Whether a guest's own <metadata> may say what is done about its findings."""

    IGNORE = "ignore"
    HONOUR = "honour"


class Ceiling(NamedTuple):
    """A CPU that no guest of *arch*'s family may exceed."""

    arch: Arch
    cpu: CPUDef


class Policy(NamedTuple):
    """`mode` bounds every rule of the host; `guests`, by name or UUID, replaces it for one guest.

    A UUID is in lower case there.

    `rules` are the modes of single rules; `on_cannot_tell` answers where findings are doubts.
    `guest_metadata`: whether a guest may choose its own mode, where `guests` does not name it.
    `on_revert` bounds what is found at a revert to a snapshot. `limit` bounds all modes.
    `pool`: hosts that each must be able to take a guest that starts here.
    """

    mode: Enforcement = Enforcement.ENFORCE
    rules: Mapping[Code, Enforcement] = DEFAULT_RULES
    guests: Mapping[str, Enforcement] = MappingProxyType({})
    on_cannot_tell: Answer = Answer.ALLOW
    on_revert: Enforcement = Enforcement.WARN
    guest_metadata: GuestMetadata = GuestMetadata.IGNORE
    limit: Enforcement = Enforcement.ENFORCE
    ceilings: tuple[Ceiling, ...] = ()
    pool: tuple[HostSnapshot, ...] = ()


class Whence(StrEnum):
    """Where the mode for a guest is from."""

    HOST = "host"
    GUESTS = "guests"  # the table in the host's configuration
    METADATA = "metadata"  # the guest's own


def mode_for(policy: Policy, name: str, uuid: str, wanted: str = "") -> tuple[Enforcement, Whence]:
    """Give the mode that is set for this guest, and where; its UUID is looked up first.

    *wanted* is what its own metadata says; any word but a mode counts for nothing.
    """
    named = policy.guests.get(uuid.lower(), policy.guests.get(name))
    if named is not None:
        return named, Whence.GUESTS
    if policy.guest_metadata is GuestMetadata.HONOUR and wanted in list(Enforcement):
        return Enforcement(wanted), Whence.METADATA
    return policy.mode, Whence.HOST


def bound_for(policy: Policy, name: str, uuid: str, wanted: str = "") -> Enforcement:
    """Give the mode that bounds every rule for this guest, as `mode_for` does, within the limit."""
    return min(mode_for(policy, name, uuid, wanted)[0], policy.limit, key=_by)


def lenient(policy: Policy) -> Policy:
    """Give *policy* for a host that is known too badly to refuse anybody: it only warns."""
    return policy._replace(limit=min(policy.limit, Enforcement.WARN, key=_by))


def bounded(findings: Iterable[Finding], bound: Enforcement) -> list[Finding]:
    """Give *findings* that lead to nothing stricter than *bound*."""
    return [_with_mode(f, min(f.mode, bound, key=_by)) for f in findings]


def _with_mode(finding: Finding, mode: Enforcement) -> Finding:
    if mode is finding.mode:
        return finding
    # _replace() would take twice as long, and a refused guest may have sixty findings
    return Finding(finding.code, finding.subject, finding.sentence, finding.hint, mode)


class Outcome(NamedTuple):
    """What findings lead to: they with their modes, the decision, and what of a Verdict follows."""

    findings: tuple[Finding, ...]
    decision: Decision
    refused: bool
    would_refuse: bool


def apply_policy(policy: Policy, bound: Enforcement, findings: Iterable[Finding]) -> Outcome:
    """Set each finding's mode, at most *bound* and what it has, and decide.

    It would refuse where a finding that enforces by default, or by *policy*, does not by a mode.
    """
    weighed = tuple(_with_mode(f, _mode(policy, bound, f)) for f in findings)
    if any(f.mode is Enforcement.ENFORCE and not f.code.is_doubt for f in weighed):
        return Outcome(weighed, Decision.DENY, refused=True, would_refuse=False)
    held_back = any(_is_held_back(policy, f) for f in weighed)
    is_strict = policy.on_cannot_tell is Answer.DENY
    if any(f.code.is_doubt for f in weighed):
        is_enforced = any(f.code.is_doubt and f.mode is Enforcement.ENFORCE for f in weighed)
        refused = is_strict and is_enforced
        would_refuse = not refused and (held_back or is_strict)
        return Outcome(weighed, Decision.CANNOT_TELL, refused, would_refuse)
    if any(f.mode is Enforcement.WARN for f in weighed):
        return Outcome(weighed, Decision.WARN, refused=False, would_refuse=held_back)
    return Outcome(weighed, Decision.ALLOW, refused=False, would_refuse=held_back)


def _is_held_back(policy: Policy, finding: Finding) -> bool:
    by_default = DEFAULT_RULES.get(finding.code, Enforcement.ENFORCE)
    by_rule = policy.rules.get(finding.code, by_default)
    return not finding.code.is_doubt and Enforcement.ENFORCE in (by_default, by_rule)


def _mode(policy: Policy, bound: Enforcement, finding: Finding) -> Enforcement:
    rule = policy.rules.get(finding.code, DEFAULT_RULES.get(finding.code, Enforcement.ENFORCE))
    return min(rule, bound, finding.mode, key=_by)
