"""Reading the CPU map: which files, in which order, and what of a broken one is told."""

from __future__ import annotations

import pytest

from guardd import cpu
from guardd.cpu.definition import Arch, CPUDef
from guardd.cpu.map import read_map
from guardd.errors import BrokenMap
from tests.cpu.maps import FILES, MAP, reader, spoiled


def test_order() -> None:
    """Vendors, features and models of one file come in that order, files in the index's."""
    seen: list[tuple[str, str]] = []
    files = {
        "index.xml": "<cpus><arch name='x'><include filename='a'/><group name='g'>"
        "<include filename='b'/></group></arch></cpus>",
        "a": "<cpus><model name='m'/><feature name='f'/><other name='o'/><vendor name='v'/></cpus>",
        "b": "<cpus><vendor name='w'/></cpus>",
    }
    read_map(reader(files), "x", lambda kind, name, _element: seen.append((kind, name)))
    assert seen == [("vendor", "v"), ("feature", "f"), ("model", "m"), ("vendor", "w")]


def test_models() -> None:
    """Models keep the map's order, which decides between equals; a nameless group is not read."""
    assert cpu.models(MAP, Arch.I686)[:3] == ("plain", "hidden", "Old")
    assert cpu.models(MAP, Arch.PPC64LE)[0] == "POWER7"
    assert cpu.models(MAP, Arch.RISCV64) == ()


def test_a_part_is_loaded_when_it_is_asked_for() -> None:
    """Once; and all of them beforehand for whoever must not read a file later."""
    read: list[str] = []

    def listed(name: str) -> bytes:
        read.append(name)
        return reader()(name)

    one_part = cpu.CPUMap(listed)
    for _ in range(2):
        cpu.models(cpu.match_pvr(one_part, cpu.PVRMatch.FAMILY), Arch.X86_64)
    assert ["index.xml", "x86_vendors.xml", "x86_features.xml", "x86_models.xml"] == read

    whole = one_part.load()
    read.clear()
    cpu.models(whole, Arch.AARCH64)
    cpu.models(cpu.match_pvr(whole, cpu.PVRMatch.EXACT), Arch.PPC64)
    assert [] == read


def test_part_is_remembered_as_broken() -> None:
    """One broken part must not take the others with it, and says why each time it is used."""
    broken = cpu.CPUMap(reader({**FILES, "ppc64.xml": "<cpus><feature name='x'/></cpus>"}))
    for _ in range(2):
        with pytest.raises(BrokenMap, match=r"Unexpected element 'feature' in CPU map 'ppc64.xml'"):
            cpu.models(broken, Arch.PPC64)
    assert cpu.models(broken, Arch.X86_64) == cpu.models(MAP, Arch.X86_64)
    assert cpu.update(broken, Arch.LOONGARCH64, CPUDef(model="la464"), None).model == "la464"


@pytest.mark.parametrize(
    ("arch", "name", "old", "new", "problem"),
    [
        ("x86_64", "index.xml", "arch name='x86'", "arch name='m68k'", "CPU map for x86"),
        ("x86_64", "index.xml", "<include filename='x86_vendors.xml'/>", "<include/>", "filename"),
        ("x86_64", "index.xml", "x86_features.xml", "gone.xml", "'gone.xml': No such file"),
        ("x86_64", "index.xml", "<cpus>", "<cpus", "'index.xml' is not well-formed"),
        ("x86_64", "x86_vendors.xml", "<vendor name='Intel'", "<vendor", "vendor name"),
        ("x86_64", "x86_vendors.xml", "'Intel'", "'AMD'", "vendor AMD already defined"),
        ("x86_64", "x86_vendors.xml", " string='GenuineIntel'", "", "vendor string for CPU vendor"),
        ("x86_64", "x86_vendors.xml", "GenuineIntel", "Intel", "Invalid CPU vendor string 'Intel'"),
        ("x86_64", "x86_features.xml", "'fpu'", "'tsc'", "feature tsc already defined"),
        ("x86_64", "x86_features.xml", "<cpuid eax_in='1' edx='16'/>", "", "no x86 CPU data"),
        ("x86_64", "x86_features.xml", "eax_in='1' ", "", r"Invalid cpuid\[0\] of CPU feature tsc"),
        ("x86_64", "x86_features.xml", "edx='16'", "edx='0x100000000'", r"Invalid cpuid\[0\]"),
        ("x86_64", "x86_features.xml", "edx='16'", "edx='-1'", r"Invalid cpuid\[0\]"),
        ("x86_64", "x86_features.xml", "edx='16'", "edx='09'", r"Invalid cpuid\[0\]"),
        ("x86_64", "x86_features.xml", " edx='0x00000000'/></f", "/></f", r"Invalid msr\[0\]"),
        ("x86_64", "x86_models.xml", "name='hidden'", "name='plain'", "Multiple definitions"),
        ("x86_64", "x86_models.xml", " partial='compat'", "", "Missing check/@partial"),
        ("x86_64", "x86_models.xml", "'compat'", "'full'", "Invalid check/@partial value 'full'"),
        ("x86_64", "x86_models.xml", "<decode host='on' guest='on'/>", "", "missing decode"),
        ("x86_64", "x86_models.xml", "host='on'", "host='default'", "Invalid decode"),
        ("x86_64", "x86_models.xml", "<model name='Old'/>", "<model name='None'/>", "not found"),
        ("x86_64", "x86_models.xml", "<model name='Old'/>", "<model/>", "Missing ancestor's name"),
        ("x86_64", "x86_models.xml", "family='6'", "family='0'", "signature family"),
        ("x86_64", "x86_models.xml", "model='15'", "model='f'", "signature model"),
        ("x86_64", "x86_models.xml", "5-7", "7-5", "Failed to parse bitmap"),
        ("x86_64", "x86_models.xml", "5-7", "5-16", "Failed to parse bitmap"),
        ("x86_64", "x86_models.xml", "<vendor name='AMD'/>", "<vendor/>", "Invalid vendor element"),
        ("x86_64", "x86_models.xml", "'AMD'", "'Cyrix'", "Unknown vendor Cyrix referenced"),
        ("x86_64", "x86_models.xml", "<feature name='sse'/>", "<feature/>", "Missing feature name"),
        ("x86_64", "x86_models.xml", "'sse'", "'AVX-2'", "Feature AVX-2 required by CPU model Old"),
        ("x86_64", "x86_models.xml", "removed='yes'", "removed='maybe'", "'removed' value 'maybe'"),
        (
            *("x86_64", "x86_models.xml", "<model name='K'>"),
            (
                "<model name='v2'><decode host='on' guest='off'/><model name='New'/></model>"
                "<model name='K'>"
            ),
            "New has two canonical names",
        ),
        ("ppc64", "ppc64.xml", "'Freescale'", "'IBM'", "vendor IBM already defined"),
        ("ppc64", "ppc64.xml", "model name='POWER8'", "model name='POWER7'", "already defined"),
        ("ppc64", "ppc64.xml", "<vendor name='IBM'/>\n    <pvr", "<vendor/><pvr", "vendor element"),
        ("ppc64", "ppc64.xml", "<vendor name='IBM'/>", "", "Unknown vendor IBM referenced"),
        ("ppc64", "ppc64.xml", "<pvr value='0x12340000' mask='0xffff0000'/>", "", "Missing PVR"),
        ("ppc64", "ppc64.xml", " mask='0xffff0000'", "", "Missing or invalid PVR mask"),
        ("ppc64", "ppc64.xml", "0x003f0000", "0x003g0000", "Missing or invalid PVR value"),
        ("aarch64", "arm.xml", "'Cavium'", "'ARM'", "vendor ARM already defined"),
        ("aarch64", "arm.xml", "0x43", "0x41", "vendor value 0x41 already defined"),
        ("aarch64", "arm.xml", "'sve256'", "'sve'", "feature sve already defined"),
        ("aarch64", "arm.xml", "'Neoverse-N1'", "'cortex-a72'", "cortex-a72 already defined"),
        ("aarch64", "arm.xml", "><vendor name='ARM'/>", "><vendor/>", "Invalid vendor element"),
        ("aarch64", "arm.xml", "><vendor name='ARM'/>", "><vendor name='X'/>", "Unknown vendor X"),
        ("aarch64", "arm.xml", "<pvr value='0xd08'/>", "", "Missing PVR information"),
        ("aarch64", "arm.xml", "'0xd08'", "'d0x'", "Missing or invalid pvr value"),
    ],
)
def test_broken(arch: str, name: str, old: str, new: str, problem: str) -> None:
    """Each way to spoil the map is told, with the file it is in."""
    broken = cpu.CPUMap(spoiled(name, old, new))
    with pytest.raises(BrokenMap, match=problem):
        cpu.validate_features(broken, Arch(arch), CPUDef()) if arch != "ppc64" else cpu.models(
            broken, Arch(arch)
        )


def test_exact_pvrs_of_a_broken_part() -> None:
    """Asking for exact PVRs must not hide that the part is broken."""
    broken = cpu.CPUMap(spoiled("ppc64.xml", "'Freescale'", "'IBM'"))
    with pytest.raises(BrokenMap, match="already defined"):
        cpu.models(cpu.match_pvr(broken, cpu.PVRMatch.EXACT), Arch.PPC64)


def test_exact_pvrs_of_a_part_that_is_mended_meanwhile() -> None:
    """What is broken stays so: loaded anew it would go by family, and pass for exact."""
    files = {**FILES, "ppc64.xml": "<cpus><feature name='x'/></cpus>"}
    exact = cpu.match_pvr(cpu.CPUMap(reader(files)), cpu.PVRMatch.EXACT)
    files["ppc64.xml"] = FILES["ppc64.xml"]

    with pytest.raises(BrokenMap, match="Unexpected element"):
        cpu.models(exact, Arch.PPC64)
