"""Modes: what a finding leads to."""

from itertools import product
from types import MappingProxyType

import pytest

from guardd.judge.finding import Answer, Code, Decision, Enforcement, Finding
from guardd.judge.policy import (
    GuestMetadata,
    Policy,
    apply_policy,
    bound_for,
    bounded,
    lenient,
)

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
    outcome = apply_policy(Policy(), bound, findings)

    assert expected == (outcome.decision, outcome.refused)


@pytest.mark.parametrize(("bound", "expected"), [(ENFORCE, True), (WARN, False), (OBSERVE, False)])
def test_on_cannot_tell_deny(bound: Enforcement, *, expected: bool) -> None:
    """A doubt refuses only where an incompatibility would."""
    policy = Policy(on_cannot_tell=Answer.DENY)

    outcome = apply_policy(policy, bound, [DOUBT])

    assert (Decision.CANNOT_TELL, expected, not expected) == outcome[1:]


WOULD_ROWS = [
    ([], ENFORCE, False),
    ([MISSING], ENFORCE, False),
    ([MISSING], WARN, True),
    ([MISSING], OBSERVE, True),
    ([DROPPED], ENFORCE, False),
    ([DROPPED], OBSERVE, False),
    ([DOUBT], ENFORCE, False),
    ([DOUBT, MISSING], WARN, True),
    (bounded([MISSING], WARN), ENFORCE, True),
    (bounded([MISSING], OBSERVE), ENFORCE, True),
    (bounded([MISSING], ENFORCE), ENFORCE, False),
]


@pytest.mark.parametrize(("findings", "bound", "expected"), WOULD_ROWS)
def test_would_refuse(findings: list[Finding], bound: Enforcement, *, expected: bool) -> None:
    """Said of each veto that a mode less than enforce kept from being one."""
    assert expected is apply_policy(Policy(), bound, findings).would_refuse


def test_a_bounded_doubt_refuses_nobody() -> None:
    """A revert is not refused for a doubt either."""
    policy = Policy(on_cannot_tell=Answer.DENY)
    outcome = apply_policy(policy, ENFORCE, bounded([DOUBT], WARN))

    assert (Decision.CANNOT_TELL, False, True) == outcome[1:]


@pytest.mark.parametrize(("rule", "bound"), list(product(Enforcement, Enforcement)))
def test_the_milder_of_rule_and_bound_counts(rule: Enforcement, bound: Enforcement) -> None:
    """A rule is never stricter than what bounds it."""
    policy = Policy(rules=MappingProxyType({Code.MISSING_FEATURE: rule}))
    order = [OBSERVE, WARN, ENFORCE]
    (finding,), _, refused, _ = apply_policy(policy, bound, [MISSING])

    assert min(rule, bound, key=order.index) is finding.mode
    assert (rule is bound is ENFORCE) is refused


def test_rules_that_are_not_named_keep_their_default() -> None:
    """A policy with rules of its own still only warns of a silent downgrade."""
    policy = Policy(rules=MappingProxyType({Code.MISSING_FEATURE: WARN}))
    (dropped,), *_ = apply_policy(policy, ENFORCE, [DROPPED])

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
    """No mode, of host or guest or chosen by a guest, is stricter than warn; milder ones stay."""
    guests = MappingProxyType({"a": ENFORCE, "b": OBSERVE})
    policy = lenient(Policy(guests=guests, guest_metadata=GuestMetadata.HONOUR))

    assert [WARN, OBSERVE, WARN, WARN] == [
        bound_for(policy, "a", ""),
        bound_for(policy, "b", ""),
        bound_for(policy, "c", ""),
        bound_for(policy, "c", "", "enforce"),
    ]
    assert OBSERVE is bound_for(lenient(Policy(mode=OBSERVE)), "c", "")


@pytest.mark.parametrize(
    ("heed", "name", "wanted", "expected"),
    [
        (GuestMetadata.IGNORE, "c", "observe", WARN),
        (GuestMetadata.HONOUR, "c", "observe", OBSERVE),
        (GuestMetadata.HONOUR, "c", "enforce", ENFORCE),
        (GuestMetadata.HONOUR, "c", "", WARN),
        (GuestMetadata.HONOUR, "c", "off", WARN),
        (GuestMetadata.HONOUR, "c", "Enforce", WARN),
        (GuestMetadata.HONOUR, "a", "observe", ENFORCE),
    ],
)
def test_a_guest_that_chooses(
    heed: GuestMetadata, name: str, wanted: str, expected: Enforcement
) -> None:
    """Its metadata stand where [guests] would, if configuration lets them; [guests] beats them."""
    policy = Policy(mode=WARN, guests=MappingProxyType({"a": ENFORCE}), guest_metadata=heed)

    assert expected is bound_for(policy, name, "", wanted)
