"""PowerPC's decode, baseline and update, libvirt's way."""

from __future__ import annotations

import pytest

from guardd import cpu
from guardd.cpu.definition import Arch, CPUDef, CPUType, Fallback, Match, Mode
from guardd.cpu.driver import Limits
from guardd.cpu.xml import format_cpu
from guardd.errors import IncompatibleCPUs, NoSuitableModel, UnknownModel, UnknownVendor
from tests.cpu.maps import MAP

STUB = CPUDef(type=CPUType.HOST, arch=Arch.PPC64LE)


def power(model: str, vendor: str | None = "IBM") -> CPUDef:
    return CPUDef(type=CPUType.HOST, arch=Arch.PPC64, model=model, vendor=vendor)


@pytest.mark.parametrize(
    ("pvr", "model", "vendor"),
    [
        (0x003F0203, "POWER7", "IBM"),
        (0x004A0201, "POWER7", "IBM"),
        (0x004C0100, "POWER8", "IBM"),
        (0x004E1202, "POWER9", "IBM"),
        (0x80240020, "POWERPC_e5500", "Freescale"),
        (0x12345678, "nobody", None),
    ],
)
def test_decode(pvr: int, model: str, vendor: str | None) -> None:
    """The upper half of the register decides."""
    result = cpu.decode(MAP, Arch.PPC64, STUB, pvr, Limits(models={model: ()}))
    assert (result.model, result.vendor) == (model, vendor)


@pytest.mark.parametrize("pvr", [0, 0x00820200, 0x0F000005])
def test_decode_unknown(pvr: int) -> None:
    """POWER11 is not in libvirt's map; a logical PVR is of no processor."""
    with pytest.raises(NoSuitableModel, match=f"Cannot find CPU model with PVR 0x{pvr:08x}"):
        cpu.decode(MAP, Arch.PPC64, STUB, pvr)


def test_baseline() -> None:
    """One model, no vendor, and no other model in its place."""
    expected = """\
<cpu mode='custom' match='exact'>
  <model fallback='forbid'>POWER8</model>
</cpu>"""
    cpus = [power("POWER8"), power("POWER8", None)]
    assert expected == format_cpu(cpu.baseline(MAP, None, cpus))


def test_baseline_of_a_model_without_vendor() -> None:
    """Only then the hosts' own vendor is put out."""
    cpus = [power("nobody", None), power("nobody", "Freescale")]
    assert cpu.baseline(MAP, None, cpus).vendor == "Freescale"


@pytest.mark.parametrize(
    ("cpus", "error", "problem"),
    [
        ([power("POWER7_v2.3")], UnknownModel, "Unknown CPU model POWER7_v2.3"),
        ([power("POWER8"), power("bogus", "Intel")], IncompatibleCPUs, "CPUs are incompatible"),
        ([power("POWER8", "Intel"), power("POWER7")], UnknownVendor, "Unknown CPU vendor Intel"),
        ([power("POWER8", "Freescale")], IncompatibleCPUs, "vendor IBM of model POWER8 differs"),
        ([power("nobody"), power("nobody", "Freescale")], IncompatibleCPUs, "do not match"),
    ],
)
def test_no_baseline(cpus: list[CPUDef], error: type[Exception], problem: str) -> None:
    """The first that fails decides, in libvirt's order."""
    with pytest.raises(error, match=problem):
        cpu.baseline(MAP, None, cpus)


def test_update() -> None:
    """Custom becomes exact, host-model stays; the host is not looked at."""
    asked = CPUDef(model="bogus", match=Match.MINIMUM, fallback=Fallback.FORBID)
    updated = cpu.update(MAP, Arch.PPC64, asked, None)
    assert (updated.model, updated.match, updated.fallback) == (
        "bogus",
        Match.EXACT,
        Fallback.FORBID,
    )
    host_model = CPUDef(mode=Mode.HOST_MODEL, model="power8", match=Match.STRICT)
    assert host_model == cpu.update(MAP, Arch.PPC64, host_model, None)


def test_vendor_for_model() -> None:
    """The map's vendor, of a name in its own spelling."""
    assert cpu.vendor_for_model(MAP, Arch.PPC64, "POWER9") == "IBM"
    assert cpu.vendor_for_model(MAP, Arch.PPC64, "power9") is None
