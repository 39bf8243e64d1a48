"""Whether one aarch64 host can take the other's guests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardd.cpu.arm.host import FIELDS, ArmHost, compare_hosts
from guardd.cpu.arm.midr import MIDR
from guardd.cpu.driver import CompareResult, Comparison, Difference

N1 = MIDR.of(0x413FD0C1)
HOST = ArmHost(
    cores=frozenset({N1}),
    features=frozenset({"fp", "asimd", "aes", "atomics"}),
    registers={"ID_AA64ISAR0_EL1": 0x0000_1000_1021_1120, "ID_AA64PFR0_EL1": 0x0011_0000},
    page_size=4096,
)


def with_register(name: str, value: int) -> ArmHost:
    return HOST._replace(registers={**HOST.registers, name: value})


def no(difference: Difference, *subjects: str) -> Comparison:
    return Comparison.incompatible(difference, *subjects)


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        (HOST, Comparison(CompareResult.IDENTICAL)),
        (HOST._replace(features=frozenset({"fp"})), Comparison(CompareResult.SUPERSET)),
        (with_register("ID_AA64ISAR0_EL1", 0), Comparison(CompareResult.SUPERSET)),
        (
            HOST._replace(features=HOST.features | {"sve", "dit"}),
            no(Difference.MISSING, "dit", "sve"),
        ),
        (
            with_register("ID_AA64ISAR0_EL1", 0x0000_1000_1021_1220),
            no(Difference.MISSING, "ID_AA64ISAR0_EL1.SHA1"),
        ),
        (with_register("ID_AA64ZFR0_EL1", 1), no(Difference.MISSING, "ID_AA64ZFR0_EL1.SVEver")),
        # a signed field: 0b1111 is no floating point at all
        (with_register("ID_AA64PFR0_EL1", 0x001F_0000), Comparison(CompareResult.SUPERSET)),
        (HOST._replace(page_size=65536), no(Difference.PAGE_SIZE, "65536")),
        (
            HOST._replace(cores=frozenset({MIDR.of(0x433FD0C1)})),
            no(Difference.VENDOR, "implementer 0x43"),
        ),
        (
            HOST._replace(cores=frozenset({MIDR.of(0x413FD081)})),
            no(Difference.MODEL, "part 0xd08 variant 3"),
        ),
        (
            HOST._replace(cores=frozenset({MIDR.of(0x414FD0C1)})),
            no(Difference.MODEL, "part 0xd0c variant 4"),
        ),
        (
            HOST._replace(cores=frozenset({N1, MIDR.of(0x413FD051)})),
            no(Difference.MODEL, "part 0xd05 variant 3", "part 0xd0c variant 3"),
        ),
        (
            HOST._replace(cores=frozenset({MIDR.of(0x413FD0C0)})),
            Comparison(CompareResult.UNCHECKED),
        ),
    ],
)
def test_compare_hosts(origin: ArmHost, expected: Comparison) -> None:
    """Each way in which the guest's origin can differ from this host."""
    assert expected == compare_hosts(HOST, origin)


REGISTERS = st.dictionaries(st.sampled_from(list(FIELDS)), st.integers(0, 2**64 - 1))


@given(REGISTERS, REGISTERS)
def test_both_ways_means_equal(one: dict[str, int], other: dict[str, int]) -> None:
    """Two hosts that can take each other's guests are identical."""
    first, second = (HOST._replace(registers=registers) for registers in (one, other))
    results = compare_hosts(first, second).result, compare_hosts(second, first).result
    if CompareResult.INCOMPATIBLE not in results:
        assert results == (CompareResult.IDENTICAL, CompareResult.IDENTICAL)
