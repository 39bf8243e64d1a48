"""<cpudata> text and the signature in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardd import cpu
from guardd.cpu.definition import Arch, Signature
from guardd.cpu.x86.data import (
    SIGNATURE,
    CPUData,
    Register,
    decode_signature,
    encode_signature,
)
from guardd.errors import InvalidCPUData
from tests.cpu.definitions import SIGNATURES

UINTS = st.integers(0, 0xFFFFFFFF)
REGISTERS = st.builds(
    Register, st.just("cpuid"), UINTS, UINTS, st.sampled_from(["eax", "ebx", "ecx", "edx"])
) | st.builds(Register, st.just("msr"), UINTS, st.just(0), st.sampled_from(["eax", "edx"]))


@given(st.dictionaries(REGISTERS, st.integers(1, 0xFFFFFFFF), min_size=1))
def test_data_comes_back(registers: dict[Register, int]) -> None:
    """Registers that no feature uses are kept as well: under check='full' they count."""
    data = CPUData(registers)
    assert data == cpu.parse_cpu_data(cpu.format_cpu_data(Arch.X86_64, data))


def test_format() -> None:
    """Columns and order are libvirt's: CPUID before MSRs, by leaf and sub-leaf; zeros left out."""
    text = (
        "<cpudata arch='x86'><msr index='0x10a' eax='1' edx='0'/><cpuid eax_in='13' ecx_in='1'"
        " eax='8'/><cpuid eax_in='7' ebx='0x10'/><cpuid eax_in='0x7' ebx='0x20' edx='010'/>"
        "<cpuid eax_in='1'/></cpudata>"
    )
    expected = """\
<cpudata arch='x86'>
  <cpuid eax_in='0x00000007' ecx_in='0x00000000' \
eax='0x00000000' ebx='0x00000030' ecx='0x00000000' edx='0x00000008'/>
  <cpuid eax_in='0x0000000d' ecx_in='0x00000001' \
eax='0x00000008' ebx='0x00000000' ecx='0x00000000' edx='0x00000000'/>
  <msr index='0x10a' eax='0x00000001' edx='0x00000000'/>
</cpudata>"""
    assert expected == cpu.format_cpu_data(Arch.X86_64, cpu.parse_cpu_data(text))


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        ("<cpuid eax='1'/>", r"Invalid cpuid\[1\]"),
        ("<cpuid eax_in='1 ' eax='1'/>", r"Invalid cpuid\[1\]"),
        ("<cpuid eax_in='0x100000000'/>", r"Invalid cpuid\[1\]"),
        ("<msr index='1' eax='0'/>", r"Invalid msr\[1\]"),
        ("<anything/>", r"Invalid msr\[1\]"),
    ],
)
def test_mistakes(item: str, problem: str) -> None:
    """Whatever is no <cpuid> is read as an <msr>; an <alias> is not counted."""
    with pytest.raises(InvalidCPUData, match=problem):
        cpu.parse_cpu_data(f"<cpudata arch='x86'><cpuid eax_in='1'/><alias/>{item}</cpudata>")


@given(SIGNATURES)
def test_signature_comes_back(signature: Signature) -> None:
    """What is encoded is what was meant, up to the largest family there can be."""
    assert signature == decode_signature(encode_signature(signature))


@pytest.mark.parametrize(
    ("eax", "signature"),
    [
        (0x000306C3, Signature(family=6, model=60, stepping=3)),
        (0x00610F01, Signature(family=21, model=16, stepping=1)),
        # real CPUs have no extended family beside a family below 15; libvirt adds it anyway
        (0x00100600, Signature(family=7, model=0, stepping=0)),
    ],
)
def test_signature(eax: int, signature: Signature) -> None:
    """Family, model and stepping as libvirt reads them."""
    assert signature == CPUData({SIGNATURE: eax}).signature


def test_no_signature() -> None:
    """Without leaf 1 all three are zero."""
    assert CPUData().signature == Signature(family=0, model=0, stepping=0)
