"""Guests by hosts, on the recorded hosts and the map of tests/data."""

from __future__ import annotations

from dataclasses import replace

import pytest

from guardd.facts.snapshot import HostSnapshot
from guardd.judge.arrival import CanGo
from guardd.judge.finding import Enforcement, Operation
from guardd.judge.matrix import (
    Bench,
    KnownBy,
    Matrix,
    Place,
    Stranded,
    Traveller,
    column,
    counts,
    lacks,
    stranded,
    traveller,
    weakest,
)
from guardd.judge.policy import Policy
from tests.judge.table import HASWELL, NAMELESS, OWN_MAP, POWER9, cpu, domain, mode
from tests.recordings import without

POOR = without(HASWELL, "avx2", "aes")
NOBODY = Place(label="lost", given="x", known_by=KnownBy.NOBODY, problem="no route to host")

RICH = cpu("Haswell-noTSX", attributes="check='partial'")
OLD = cpu("Nehalem", attributes="check='partial'")
NEW = cpu("Skylake-Server", attributes="check='partial'")
LOOSE = cpu("Haswell-noTSX", attributes="check='none'")


def place(snapshot: HostSnapshot, known_by: KnownBy = KnownBy.FILE) -> Place:
    """Give a host to go to."""
    return replace(NOBODY, snapshot=snapshot, known_by=known_by, problem="", label=str(known_by))


HERE = place(HASWELL, KnownBy.HERE)


def guest(cpu_xml: str, *, runs: bool = False) -> Traveller:
    """Give a guest with that <cpu>."""
    text = domain(cpu_xml)
    return traveller("g", "", text.replace("<domain", "<domain id='1'") if runs else text)


def matrix(places: list[Place], *guests: Traveller) -> Matrix:
    """Judge all on all."""
    bench = Bench(places, {each.virt_type for each in guests}, OWN_MAP)
    return Matrix(places=tuple(places), rows=tuple(map(bench.row, guests)))


@pytest.mark.parametrize(
    ("cpu_xml", "expected"),
    [
        (OLD, "yes yes cannot-tell cannot-tell cannot-tell"),
        (RICH, "yes no cannot-tell cannot-tell cannot-tell"),
        (LOOSE, "yes with-warnings cannot-tell cannot-tell cannot-tell"),
        (NEW, "no no cannot-tell cannot-tell cannot-tell"),
        (mode("host-passthrough"), "yes yes yes cannot-tell cannot-tell"),
    ],
)
def test_cells(cpu_xml: str, expected: str) -> None:
    """Each guest on each host: here, a poorer one, a nameless, another architecture, none."""
    places = [HERE, place(POOR), place(NAMELESS), place(POWER9), NOBODY]
    (row,) = matrix(places, guest(cpu_xml)).rows

    assert expected.split() == [cell.can_go for cell in row.cells]
    assert "no route to host" == row.cells[-1].problem


def test_a_running_guest_arrives() -> None:
    """It is asked about as by a migration; one that is off by its start."""
    assert [Operation.MIGRATE, Operation.PREPARE] == [
        request.operation for request in guest(RICH, runs=True).requests
    ]
    assert [Operation.PREPARE] == [request.operation for request in guest(RICH).requests]


def test_what_is_sent_first() -> None:
    """`migrate` sees the CPU as it was written, `prepare` the one in force."""
    runs = domain(OLD).replace("<domain", "<domain id='1'")
    first, second = traveller("g", "", runs, as_sent=domain(NEW)).requests

    assert ["Skylake-Server" in each.xml for each in (first, second)] == [True, False]


@pytest.mark.parametrize("text", ["", "<domain/>", "<domain type='kvm'><name>g</name></domain>"])
def test_unreadable_guest(text: str) -> None:
    """It has its row, and cannot be judged."""
    (row,) = matrix([HERE, place(POOR)], traveller("g", "", text)).rows

    assert [CanGo.CANNOT_TELL] * 2 == [cell.can_go for cell in row.cells]


def test_own_rules_are_for_this_host_only() -> None:
    """Other hosts are judged by the rules as they come."""
    lenient = replace(HERE, policy=Policy(mode=Enforcement.WARN))
    (row,) = matrix([lenient, place(HASWELL)], guest(NEW)).rows

    assert [CanGo.WARNINGS, CanGo.NO] == [cell.can_go for cell in row.cells]


def test_stranded() -> None:
    """Who can go to no other host, by what there is to be said of this one."""
    found = stranded(matrix([HERE, place(POOR)], guest(OLD), guest(RICH), guest(NEW)))
    doubtful = stranded(matrix([HERE, place(POOR), NOBODY], guest(OLD), guest(RICH)))
    alone = stranded(matrix([HERE], guest(OLD), guest(NEW)))

    assert [1, 1, 0] == [len(found.here_only), len(found.nowhere), len(found.uncertain)]
    assert [0, 0, 1] == [
        len(each) for each in (doubtful.here_only, doubtful.nowhere, doubtful.uncertain)
    ]
    assert Stranded() == alone


def test_weakest() -> None:
    """The host that refuses most; none where none does, or all that are known do alike."""
    places = [HERE, place(POOR), NOBODY]

    assert [1] == weakest(matrix(places, guest(OLD), guest(RICH)))
    assert [] == weakest(matrix(places, guest(OLD)))
    assert [] == weakest(matrix(places, guest(NEW)))
    assert [0] == weakest(matrix([HERE], guest(NEW)))


def test_lacks() -> None:
    """Features with the number of guests that miss them, most first."""
    found = matrix([HERE, place(POOR)], guest(RICH), guest(LOOSE), guest(OLD), guest(NEW))

    assert {} == lacks(matrix([HERE], guest(RICH)), 0)
    assert {"aes": 3, "avx2": 3} == {
        name: number for name, number in lacks(found, 1).items() if name in ("aes", "avx2")
    }
    assert sorted(lacks(found, 1).values(), reverse=True) == list(lacks(found, 1).values())


def test_counts() -> None:
    """Every answer has its number, 0 as well."""
    found = matrix([HERE, place(POOR)], guest(RICH), guest(OLD))

    assert {"yes": 1, "with-warnings": 0, "no": 1, "cannot-tell": 0} == counts(column(found, 1))
