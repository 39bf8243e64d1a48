"""Modes: what a finding leads to."""

from itertools import product
from types import MappingProxyType

import pytest

from guardd.judge.finding import Answer, Code, Decision, Enforcement, Finding
from guardd.judge.policy import Policy, apply_policy, bound_for, lenient

ENFORCE, WARN, OBSERVE = Enforcement.ENFORCE, Enforcement.WARN, Enforcement.OBSERVE
MISSING = Finding(Code.MISSING_FEATURE, "avx", "")
DROPPED = Finding(Code.SILENT_DOWNGRADE, "avx", "")
DOUBT = Finding(Code.UNCHECKED, "x86_64", "")


@pytest.mark.parametrize(
    ("findings", "bound", "expected"),
    [
        ([], ENFORCE, (Decision.ALLOW, False)),
        ([MISSING], ENFORCE, (Decision.DENY, True)),
        ([MISSING], WARN, (Decision.WARN, False)),
        ([MISSING], OBSERVE, (Decision.ALLOW, False)),
        ([DROPPED], ENFORCE, (Decision.WARN, False)),
        ([DROPPED, MISSING], ENFORCE, (Decision.DENY, True)),
        ([DOUBT], ENFORCE, (Decision.CANNOT_TELL, False)),
        ([DOUBT], OBSERVE, (Decision.CANNOT_TELL, False)),
        ([DOUBT, DROPPED], ENFORCE, (Decision.CANNOT_TELL, False)),
        ([DOUBT, MISSING], ENFORCE, (Decision.DENY, True)),
        ([DOUBT, MISSING], WARN, (Decision.CANNOT_TELL, False)),
    ],
)
def test_decision(
    findings: list[Finding], bound: Enforcement, expected: tuple[Decision, bool]
) -> None:
    """The gravest finding decides; a doubt never refuses by itself."""
    _, decision, refused = apply_policy(Policy(), bound, findings)

    assert expected == (decision, refused)


@pytest.mark.parametrize(("bound", "expected"), [(ENFORCE, True), (WARN, False), (OBSERVE, False)])
def test_on_cannot_tell_deny(bound: Enforcement, *, expected: bool) -> None:
    """A doubt refuses only where an incompatibility would."""
    policy = Policy(on_cannot_tell=Answer.DENY)

    assert (Decision.CANNOT_TELL, expected) == apply_policy(policy, bound, [DOUBT])[1:]


@pytest.mark.parametrize(("rule", "bound"), list(product(Enforcement, Enforcement)))
def test_the_milder_of_rule_and_bound_counts(rule: Enforcement, bound: Enforcement) -> None:
    """A rule is never stricter than what bounds it."""
    policy = Policy(rules=MappingProxyType({Code.MISSING_FEATURE: rule}))
    order = [OBSERVE, WARN, ENFORCE]
    (finding,), _, refused = apply_policy(policy, bound, [MISSING])

    assert min(rule, bound, key=order.index) is finding.mode
    assert (rule is bound is ENFORCE) is refused


def test_rules_that_are_not_named_keep_their_default() -> None:
    """A policy with rules of its own still only warns of a silent downgrade."""
    policy = Policy(rules=MappingProxyType({Code.MISSING_FEATURE: WARN}))
    (dropped,), _, _ = apply_policy(policy, ENFORCE, [DROPPED])

    assert WARN is dropped.mode


@pytest.mark.parametrize(
    ("name", "uuid", "expected"),
    [
        ("a", "1", WARN),
        ("a", "", OBSERVE),
        ("b", "1", WARN),
        ("b", "2", ENFORCE),
        ("1", "a", OBSERVE),  # a name may look like a UUID, and is looked up as what it is
    ],
)
def test_bound_for(name: str, uuid: str, expected: Enforcement) -> None:
    """The UUID is looked up first: it cannot be given to another guest by a rename."""
    policy = Policy(guests=MappingProxyType({"a": OBSERVE, "1": WARN}))

    assert expected is bound_for(policy, name, uuid)


def test_lenient() -> None:
    """No mode, of the host or of a guest, is stricter than warn; milder ones stay."""
    policy = lenient(Policy(guests=MappingProxyType({"a": ENFORCE, "b": OBSERVE})))

    assert (WARN, {"a": WARN, "b": OBSERVE}) == (policy.mode, dict(policy.guests))
    assert OBSERVE is lenient(Policy(mode=OBSERVE)).mode
