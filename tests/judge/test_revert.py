"""Reverts: libvirt stops the guest before it asks, so a refusal would leave it off."""

import pytest

from guardd.judge.finding import Decision
from guardd.judge.revert import LENIENCY
from guardd.render import hook_line, report
from tests.judge.table import HASWELL, born, cpu, domain, judged, mode, stamped, told
from tests.judge.test_stamp import SVM, less

OPEN = domain(mode("host-passthrough"))
STAMPED = stamped(OPEN, SVM)
FULL = "check='full'"
IN_FORCE = domain(cpu("Haswell", "require hypervisor", attributes=FULL))
BY_HAND = domain(cpu("Haswell", attributes=FULL))
WRITTEN = domain(cpu("Haswell"))
STAMPED_MODEL = stamped(WRITTEN, born(HASWELL, IN_FORCE))
STAMPED_IN_FORCE = stamped(IN_FORCE, born(HASWELL, IN_FORCE))
BAD = STAMPED.replace("taken='2026", "taken='2027")

ROWS = [
    # a start from nothing is judged as ever
    pytest.param(WRITTEN, False, "deny: missing-feature hle rtm", id="a start"),
    pytest.param(WRITTEN, None, "deny: missing-feature hle rtm", id="a start, not known as one"),
    pytest.param(BY_HAND, False, "deny: missing-feature hle rtm", id="check='full' by hand"),
    pytest.param(
        STAMPED_MODEL, False, "deny: missing-feature hle rtm", id="a stamp in a definition"
    ),
    pytest.param(OPEN, False, "allow", id="host-passthrough has what there is"),
    # an arrival is refused
    pytest.param(IN_FORCE, True, "deny: missing-feature hle rtm", id="an arrival"),
    pytest.param(STAMPED, True, "deny: lost-feature svm", id="an arrival by its stamp"),
    pytest.param(IN_FORCE, None, "deny: missing-feature hle rtm", id="perhaps an arrival"),
    # a revert is let through
    pytest.param(IN_FORCE, False, "warn: missing-feature hle rtm", id="a revert"),
    pytest.param(STAMPED_IN_FORCE, False, "warn: missing-feature hle rtm", id="with a stamp"),
    pytest.param(STAMPED, False, "warn: lost-feature svm", id="a revert by its stamp"),
    pytest.param(STAMPED, None, "warn: lost-feature svm", id="an arrival was judged before"),
    pytest.param(
        STAMPED_IN_FORCE, None, "warn: missing-feature hle rtm", id="so was that of a model"
    ),
    pytest.param(BAD, False, "cannot-tell: bad-stamp web1", id="a bad stamp"),
]


@pytest.mark.parametrize(("xml", "arrives", "expected"), ROWS)
def test_reverts(xml: str, expected: str, *, arrives: bool | None) -> None:
    """Only what the guest had before is bounded, and only where libvirt has stopped it."""
    assert expected == told(judged(HASWELL, xml, arrives=arrives))


@pytest.mark.parametrize(("xml", "arrives", "expected"), ROWS)
def test_reverts_enforced(xml: str, expected: str, *, arrives: bool | None) -> None:
    """An administrator may prefer a guest that is off to one that is wrong."""
    verdict = judged(HASWELL, xml, toml='on_revert = "enforce"', arrives=arrives)

    assert expected.replace("warn:", "deny:") == told(verdict)
    assert "" == verdict.leniency


@pytest.mark.parametrize(("xml", "arrives", "expected"), ROWS)
def test_reverts_observed(xml: str, expected: str, *, arrives: bool | None) -> None:
    """Or to see it in the journal only."""
    verdict = judged(HASWELL, xml, toml='on_revert = "observe"', arrives=arrives)

    assert expected.replace("warn:", "allow:") == told(verdict)


@pytest.mark.parametrize("xml", [IN_FORCE, STAMPED, STAMPED_IN_FORCE])
def test_it_is_said(xml: str) -> None:
    """In the line, the report and the value: it would have been refused, and why it was not."""
    verdict = judged(HASWELL, xml, arrives=False)

    assert (True, LENIENCY) == (verdict.would_refuse, verdict.leniency)
    assert "let through, enforce would refuse" in hook_line(verdict)
    assert f"would be refused in mode enforce: {LENIENCY}" in report(verdict)


def test_a_doubt_at_a_revert() -> None:
    """on_cannot_tell leaves no guest off either; at an arrival it refuses."""
    toml = 'on_cannot_tell = "deny"'
    revert = judged(HASWELL, BAD, toml=toml, arrives=False)
    arrival = judged(HASWELL, BAD, toml=toml, arrives=True)

    assert (Decision.CANNOT_TELL, False, True) == (
        revert.decision,
        revert.refused,
        revert.would_refuse,
    )
    assert arrival.refused


@pytest.mark.parametrize("operation", ["migrate", "restore"])
@pytest.mark.parametrize("xml", [IN_FORCE, STAMPED])
@pytest.mark.parametrize("arrives", [None, False, True])
def test_arrivals_are_never_reverts(xml: str, operation: str, *, arrives: bool | None) -> None:
    """Refused, they stay where they are."""
    assert judged(HASWELL, xml, operation=operation, arrives=arrives).refused


@pytest.mark.parametrize("xml", [WRITTEN, OPEN])
def test_a_stamp_opens_no_way_round_the_ceiling(xml: str) -> None:
    """Somebody may have put one into the definition: what that asks for is judged as ever."""
    toml = '[ceiling]\nx86_64 = "Nehalem"'
    stamp = born(HASWELL, xml) if xml is OPEN else born(HASWELL, IN_FORCE)

    assert judged(HASWELL, xml, toml=toml, arrives=False).refused
    assert judged(HASWELL, stamped(xml, stamp), toml=toml, arrives=False).refused


def test_the_other_reasons_are_said_too() -> None:
    """A mode, and a host that has changed."""
    host = less(HASWELL)

    assert "the mode for this guest is warn" == (
        judged(host, WRITTEN, toml='mode = "warn"').leniency
    )
    assert "" == judged(host, WRITTEN, toml='[rules]\nmissing-feature = "warn"').leniency
    assert "" == judged(host, domain(cpu("Nehalem")), toml='mode = "warn"').leniency
