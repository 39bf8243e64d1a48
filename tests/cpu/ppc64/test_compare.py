"""PowerPC's compare: names, compatibility modes, and libvirt's accidents."""

from __future__ import annotations

import pytest

from guardd import cpu
from guardd.cpu.definition import Arch, CPUDef, CPUType, FeaturePolicy, Match, Mode
from guardd.cpu.driver import CompareResult, Comparison, Difference
from guardd.cpu.ppc64.compat import generation
from guardd.errors import NoModel, UnknownCompat, UnknownModel
from tests.cpu.maps import MAP

IDENTICAL = Comparison(CompareResult.IDENTICAL)


def no(difference: Difference, *subjects: str) -> Comparison:
    return Comparison.incompatible(difference, *subjects)


def power(model: str | None, *, vendor: str | None = "IBM", arch: Arch = Arch.PPC64) -> CPUDef:
    return CPUDef(type=CPUType.HOST, arch=arch, model=model, vendor=vendor)


def compat(mode: str) -> CPUDef:
    return CPUDef(mode=Mode.HOST_MODEL, model=mode)


def compare(host: CPUDef, definition: CPUDef) -> Comparison:
    return cpu.compare(MAP, Arch.PPC64LE, host, definition)


@pytest.mark.parametrize(
    ("definition", "expected"),
    [
        (power("POWER8"), IDENTICAL),
        (power("POWER8", arch=Arch.PPC64LE), IDENTICAL),
        (power("POWER8", vendor=None), IDENTICAL),
        (power("POWER8", vendor="Freescale"), no(Difference.VENDOR, "Freescale")),
        (power("bogus", arch=Arch.X86_64), no(Difference.ARCH, "x86_64")),
        (power("bogus", vendor="Intel"), no(Difference.VENDOR, "Intel")),
        (power("POWER7"), no(Difference.MODEL, "POWER7")),
        (CPUDef(model="POWER8", features={"vsx": FeaturePolicy.FORBID}), IDENTICAL),
        (CPUDef(model="POWER7", match=Match.MINIMUM), no(Difference.MODEL, "POWER7")),
        (CPUDef(model="POWER8_v1.0"), IDENTICAL),
        (CPUDef(model="POWER7+_v2.1"), no(Difference.MODEL, "POWER7")),
        (CPUDef(mode=Mode.HOST_PASSTHROUGH, model="bogus"), IDENTICAL),
        (CPUDef(mode=Mode.MAXIMUM), IDENTICAL),
        (CPUDef(mode=Mode.HOST_MODEL), IDENTICAL),
        (compat("power8"), IDENTICAL),
        (compat("power6"), IDENTICAL),
        (compat("power9"), no(Difference.COMPAT, "power9")),
        # read as C's strtol does
        (compat("power 8"), IDENTICAL),
        (compat("power+07"), IDENTICAL),
    ],
)
def test_compare(definition: CPUDef, expected: Comparison) -> None:
    """What libvirt answers on a POWER8 host; a match is not looked at, a superset never said."""
    assert expected == compare(power("POWER8"), definition)


@pytest.mark.parametrize(
    ("host", "definition", "error"),
    [
        (power("POWER8_v1.0"), CPUDef(model="POWER8"), UnknownModel),
        (power("POWER8"), CPUDef(model="power8"), UnknownModel),
        (power("POWER8"), CPUDef(model="POWER8_v2.0"), UnknownModel),
        (power("POWER8"), CPUDef(), NoModel),
        (power("POWER8"), compat("POWER8_v1.0"), UnknownCompat),
        (power("POWER8"), compat("power11"), UnknownCompat),
        (power("POWER8"), compat("power8 "), UnknownCompat),
        (power("POWER8"), compat("power" + "9" * 5000), UnknownCompat),
        (power("POWERPC_e5500", vendor=None), compat("power8"), UnknownCompat),
    ],
)
def test_mistakes(host: CPUDef, definition: CPUDef, error: type[Exception]) -> None:
    """Names that libvirt does not know, on either side."""
    with pytest.raises(error):
        compare(host, definition)


def test_unknown_host() -> None:
    """A host of which libvirt knows only the topology."""
    assert compare(power(None), CPUDef(model="bogus")) == no(Difference.UNKNOWN_HOST)


def test_convert_legacy() -> None:
    """Four names and no more; a copy, the definition stays."""
    old = CPUDef(model="POWER7_v2.3")
    assert cpu.convert_legacy(Arch.PPC64, old).model == "POWER7"
    assert old.model == "POWER7_v2.3"
    same = CPUDef(model="POWER7_v2.0")
    assert cpu.convert_legacy(Arch.PPC64, same) == same
    assert cpu.convert_legacy(Arch.X86_64, old) == old


@pytest.mark.parametrize(
    ("name", "expected"), [("POWER10", 10), ("POWER5", None), ("POWER8E", None), ("power9", None)]
)
def test_generation(name: str, expected: int | None) -> None:
    """The generations that have compatibility modes in libvirt."""
    assert expected == generation(name, "POWER")
