"""The second opinion where libvirt has none; tests/lab has the real answers."""

import pytest

from guardd.judge import judge
from guardd.judge.finding import CheckRequest, Operation
from guardd.watch.opinion import SecondOpinion
from tests.judge.table import HASWELL, OWN_MAP, cpu, domain
from tests.watch.conftest import Driver
from tests.watch.notes import Notes

ASKED = domain(cpu("Nehalem", attributes="check='partial'"))


def put(
    opinion: SecondOpinion,
    driver: Driver,
    notes: Notes,
    xml: str,
    operation: str = "prepare",
    *,
    arrives: bool = False,
) -> None:
    """Have it look at the verdict on a guest."""
    request = CheckRequest(domain="web1", operation=Operation(operation), xml=xml, arrives=arrives)
    verdict = judge(request, notes.host, notes.policy, OWN_MAP)
    opinion.judged(driver.connection, request, verdict)


def test_libvirt_has_none(driver: Driver) -> None:
    """The driver does not compare: no disagreement, and it is asked once for a snapshot."""
    notes = Notes(HASWELL)
    opinion = SecondOpinion(notes.desk)
    for _ in range(3):
        put(opinion, driver, notes, ASKED)
    assert {"no-opinion": 1} == notes.counted

    put(opinion, driver, notes, domain(cpu("EPYC", attributes="check='partial'")))
    assert {"no-opinion": 2} == notes.counted

    notes.host = HASWELL._replace(taken="2026-11-22T22:00:00Z")
    put(opinion, driver, notes, ASKED)
    assert {"no-opinion": 3} == notes.counted
    assert [] == notes.records


@pytest.mark.parametrize(
    ("xml", "operation", "arrives"),
    [
        (ASKED, "migrate", True),
        (ASKED, "restore", True),
        (ASKED, "prepare", True),
        (domain(cpu("Nehalem", attributes="check='none'")), "prepare", False),
        (domain(cpu("Nehalem"), machine="pc-0.1"), "prepare", False),
        ("<domain", "prepare", False),
        (domain(""), "prepare", False),
    ],
)
def test_not_asked(driver: Driver, xml: str, operation: str, *, arrives: bool) -> None:
    """What libvirt does not check, or has not checked as written here."""
    notes = Notes(HASWELL)
    put(SecondOpinion(notes.desk), driver, notes, xml, operation, arrives=arrives)

    assert ({}, []) == (notes.counted, notes.records)


def test_nothing_to_hold_against(driver: Driver) -> None:
    """Nothing is known of this host."""
    notes = Notes()
    put(SecondOpinion(notes.desk), driver, notes, ASKED)

    assert ({}, []) == (notes.counted, notes.records)
