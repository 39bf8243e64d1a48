"""Which MSRs are read, and the form in which VMX controls become features."""

from __future__ import annotations

from pathlib import Path

import pytest

from guardd import cpu
from guardd.cpu.x86.data import CPUData, Register
from guardd.cpu.x86.driver import DRIVER
from guardd.cpu.x86.map import X86Map
from guardd.errors import UnreadableHardware
from guardd.probe.msrs import open_msr, wanted_msrs, with_msrs
from tests.cpu.maps import FILES, reader

ANNOUNCERS = """
  <feature name='arch-capabilities'><cpuid eax_in='7' edx='0x20000000'/></feature>
  <feature name='core-capability'><cpuid eax_in='7' edx='0x40000000'/></feature>
  <feature name='vmx-ins-outs'><msr index='0x480' eax='0' edx='0x400000'/></feature>
  <feature name='vmx-intr-exit'><msr index='0x48d' eax='1' edx='0'/></feature>
  <feature name='split-lock-detect'><msr index='0xcf' eax='0x20' edx='0'/></feature>
</cpus>"""


def known() -> X86Map:
    """Give the tests' map with features in MSRs and those that announce them."""
    text = FILES["x86_features.xml"].replace("</cpus>", ANNOUNCERS)
    part: X86Map = cpu.CPUMap(reader({**FILES, "x86_features.xml": text})).part(DRIVER)
    return part


VMX = (Register("cpuid", 1, 0, "ecx"), 0x20)
ARCH = (Register("cpuid", 7, 0, "edx"), 0x20000000)
CORE = (Register("cpuid", 7, 0, "edx"), 0x40000000)


@pytest.mark.parametrize(
    ("bits", "expected"),
    [
        ([], ()),
        ([ARCH], (0x10A,)),
        ([VMX], (0x480, 0x48D)),
        ([VMX, CORE], (0x480, 0x48D, 0xCF)),
    ],
)
def test_wanted(bits: list[tuple[Register, int]], expected: tuple[int, ...]) -> None:
    """In map order, those that CPUID announces; libvirt 11.3.0 tries all, with the same result."""
    assert expected == wanted_msrs(known(), CPUData(dict(bits)))


@pytest.mark.parametrize(
    ("index", "raw", "expected"),
    [
        pytest.param(0x10A, 5 << 32 | 3, {"eax": 3, "edx": 5}, id="plain"),
        pytest.param(
            0x480, 1 << 54 | 0x12, {"eax": 0x12, "edx": 0x400000}, id="vmx-basic-is-plain"
        ),
        # KVM's value on a Skylake: bits 1, 2 and 4 must be set, 0, 3, 5 and 6 may be
        pytest.param(0x48D, 0x7F << 32 | 0x16, {"eax": 0x69}, id="may-be-set"),
        pytest.param(0x48D, 0x16 << 32 | 0x16, {}, id="nothing-to-choose"),
        pytest.param(0x48B, 1 << 63, {"eax": 1 << 31}, id="highest-bit"),
    ],
)
def test_form(index: int, raw: int, expected: dict[str, int]) -> None:
    """Controls as QEMU has them; libvirt 11.3.0 leaves them raw, which gives no true features."""
    data = with_msrs(CPUData(), {index: raw})

    assert {Register("msr", index, 0, name): value for name, value in expected.items()} == (
        data.registers
    )


def test_raw_halves_are_no_features() -> None:
    """The difference from libvirt 11.3.0: a control that cannot be switched on is no feature."""
    must_be_set = 1 << 32 | 1
    part = known()
    ours = with_msrs(CPUData(), {0x48D: must_be_set})
    raw = CPUData({Register("msr", 0x48D, 0, name): 1 for name in ("eax", "edx")})

    assert () == part.names(part.bits(ours))
    assert ("vmx-intr-exit",) == part.names(part.bits(raw))


def test_device(tmp_path: Path) -> None:
    """Eight bytes at the MSR's number; less, as with EIO, means that there is none."""
    path = tmp_path / "msr"
    path.write_bytes(bytes(0x10A) + (5 << 32 | 3).to_bytes(8, "little"))
    with open_msr(path) as read:
        assert 5 << 32 | 3 == read(0x10A)
        assert read(0x10B) is None


def test_missing_device(tmp_path: Path) -> None:
    """The module is not loaded."""
    with pytest.raises(UnreadableHardware) as raised:
        open_msr(tmp_path / "msr").__enter__()

    assert "load the kernel's module: modprobe msr" == raised.value.hint
