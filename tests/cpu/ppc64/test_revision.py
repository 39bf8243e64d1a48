"""Exact PVRs: revisions have names, and one is not another."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardd import cpu
from guardd.cpu import PVRMatch
from guardd.cpu.definition import Arch, CPUDef, CPUType, Mode
from guardd.cpu.driver import CompareResult, Comparison, Difference
from guardd.cpu.xml import format_cpu, parse_cpu
from guardd.errors import IncompatibleCPUs, NoSuitableModel, UnknownCompat, UnknownModel
from tests.cpu.maps import EXACT, MAP

STUB = CPUDef(type=CPUType.HOST, arch=Arch.PPC64)


def host(pvr: int) -> CPUDef:
    return cpu.decode(EXACT, Arch.PPC64, STUB, pvr)


def compare(one: CPUDef, other: CPUDef) -> Comparison:
    return cpu.compare(EXACT, Arch.PPC64, one, other)


@pytest.mark.parametrize(
    ("pvr", "name"),
    [
        # libvirt's names of 2012
        (0x003F0200, "POWER7"),
        (0x003F0201, "POWER7_v2.1"),
        (0x003F0203, "POWER7_v2.3"),
        (0x004A0201, "POWER7+_v2.1"),
        (0x004B0100, "POWER8_v1.0"),
        # revisions that no table lists
        (0x003F0202, "POWER7_v2.2"),
        (0x004A0202, "POWER7+_v2.2"),
        (0x004B0201, "POWER8E_v2.1"),
        (0x004C0101, "POWER8NVL_v1.1"),
        (0x004E1203, "POWER9_v2.3"),
        (0x00820200, "POWER11_v2.0"),
        (0x80240021, "POWERPC_e5500_v2.1"),
        (0x12340101, "nobody_v1.1"),
        # another chip with the same revision
        (0x004E0202, "POWER9_v2.2_004e0202"),
        (0x004D0100, "POWER8_v1.0_004d0100"),
        (0x00801200, "POWER10_v2.0_00801200"),
    ],
)
def test_names(pvr: int, name: str) -> None:
    """A revision is named, listed or not, and no two PVRs alike."""
    assert name == host(pvr).model


def test_unknown_family() -> None:
    """A family that nobody knows has no name to give."""
    with pytest.raises(NoSuitableModel):
        host(0x0F000005)


PVRS = st.builds(
    lambda chip, low: chip << 16 | low,
    st.sampled_from([0x3F, 0x4A, 0x4B, 0x4C, 0x4D, 0x4E, 0x80, 0x82, 0x8024, 0x1234]),
    st.integers(0, 0xFFFF),
)


@given(PVRS, PVRS)
def test_a_name_is_one_pvr(one: int, other: int) -> None:
    """Two hosts are identical if and only if their PVRs are equal, and the text carries it."""
    first, second = (parse_cpu(format_cpu(host(pvr))) for pvr in (one, other))
    result = compare(first, second).result
    assert (result is CompareResult.IDENTICAL) == (one == other)


def test_power7() -> None:
    """What the first PowerPC driver of libvirt said of its three models."""
    own = host(0x003F0203)
    assert compare(own, own) == Comparison(CompareResult.IDENTICAL)
    assert compare(own, CPUDef(model="POWER7_v2.3")).result is CompareResult.IDENTICAL
    for name in ("POWER7_v2.1", "POWER7", "POWER8"):
        expected = Comparison.incompatible(Difference.MODEL, name)
        assert expected == compare(own, CPUDef(model=name))


def test_power7_baseline() -> None:
    """Its baseline: the vendor is named, and a fallback allowed."""
    expected = """\
<cpu mode='custom' match='exact'>
  <model fallback='allow'>POWER7_v2.3</model>
  <vendor>IBM</vendor>
</cpu>"""
    own = host(0x003F0203)
    assert expected == format_cpu(cpu.baseline(EXACT, None, [own]))
    assert expected == format_cpu(cpu.baseline(EXACT, None, [own, own]))
    with pytest.raises(IncompatibleCPUs):
        cpu.baseline(EXACT, None, [own, host(0x003F0201)])


def test_family_and_revision() -> None:
    """A guest that names a family takes any of it; a host that does leaves the question open."""
    family = CPUDef(type=CPUType.HOST, arch=Arch.PPC64, model="POWER9", vendor="IBM")
    assert compare(host(0x004E1202), CPUDef(model="POWER9")).result is CompareResult.IDENTICAL
    assert compare(family, CPUDef(model="POWER9")).result is CompareResult.IDENTICAL
    assert compare(family, CPUDef(model="POWER9_v2.2")).result is CompareResult.UNCHECKED
    assert compare(family, CPUDef(model="POWER8_v2.0")).result is CompareResult.INCOMPATIBLE


@pytest.mark.parametrize(
    "name",
    [
        "POWER7_v2.0",
        "POWER9_v2.2_004e1202",
        "POWER9_v99.0",
        "power9_v2.2",
        "POWER6_v1.0",
        "POWER7+",
    ],
)
def test_unknown_names(name: str) -> None:
    """A PVR has one name, and only that is known."""
    with pytest.raises(UnknownModel):
        compare(host(0x004E1202), CPUDef(model=name))


def test_compat_modes_are_the_hosts() -> None:
    """Under exact PVRs a mode must be one that the processor offers."""

    def result(pvr: int, mode: str) -> CompareResult:
        return compare(host(pvr), CPUDef(mode=Mode.HOST_MODEL, model=mode)).result

    assert result(0x00800200, "power8") is CompareResult.IDENTICAL
    assert result(0x00800200, "power6") is CompareResult.INCOMPATIBLE
    assert result(0x00820200, "power11") is CompareResult.IDENTICAL
    with pytest.raises(UnknownCompat):
        result(0x00800200, "power12")


def test_family_is_the_default() -> None:
    """A map goes by family unless it is told otherwise, and can be told back."""
    one, other = CPUDef(model="POWER7", type=CPUType.HOST), CPUDef(model="POWER7_v2.1")
    back = cpu.match_pvr(EXACT, PVRMatch.FAMILY)
    for cpu_map in (MAP, back):
        assert cpu.compare(cpu_map, Arch.PPC64, one, other).result is CompareResult.IDENTICAL
    assert compare(one, other).result is CompareResult.INCOMPATIBLE
