"""The kernel's names of x86 features, and what they stand for."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from guardd.cpu.definition import Signature
from guardd.cpu.x86.driver import DRIVER
from guardd.cpu.x86.map import X86Map
from guardd.probe import cpu_map
from guardd.probe.flags import flags_data
from tests.cpu.maps import X86

INTEL, AMD = "GenuineIntel", "AuthenticAMD"


@pytest.fixture(scope="module")
def installed() -> X86Map:
    """The x86 part of the CPU map of the libvirt that is installed here."""
    if not (cpu_map.DIRECTORY / "index.xml").exists():
        pytest.skip("libvirt's CPU map is not installed")
    part: X86Map = cpu_map.read_cpu_map().part(DRIVER)
    return part


def names(known: X86Map, lines: Mapping[str, str]) -> set[str]:
    """Give the features that *lines* stand for."""
    data = flags_data(known, lines)
    assert data is not None
    return set(known.names(known.bits(data)))


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        ("sse2", {"sse2"}),
        ("pclmulqdq", {"pclmuldq"}),
        ("sse4_2", {"sse4.2"}),
        ("sha_ni", {"sha-ni"}),
        ("cr8_legacy", {"cr8legacy"}),
        ("avx512_vbmi2", {"avx512vbmi2"}),
        ("avx512_vpopcntdq", {"avx512-vpopcntdq"}),
        ("avx512_bf16", {"avx512-bf16"}),
        ("tsc_deadline_timer", {"tsc-deadline"}),
        ("dts", {"ds"}),
        ("nonstop_tsc", {"invtsc"}),
        ("cqm", {"cmt"}),
        ("md_clear", {"md-clear"}),
        ("arch_capabilities", {"arch-capabilities"}),
        ("xsave", {"xsave", "osxsave"}),
        ("lahf_lm", {"lahf_lm"}),
        ("svm_lock", {"svm-lock"}),
        ("pausefilter", {"pause-filter"}),
        ("v_vmsave_vmload", {"v-vmsave-vmload"}),
        # the kernel's own, which are no features of a CPU
        ("rep_good", set()),
        ("pti", set()),
        ("constant_tsc", set()),
        ("arch_perfmon", set()),
        # in an MSR: the kernel sets it for models that it knows, too
        ("split_lock_detect", set()),
    ],
)
def test_names(installed: X86Map, flag: str, expected: set[str]) -> None:
    """By the map's name, its aliases, other dashes, and a table for the rest."""
    assert expected == names(installed, {"flags": f"{flag} unknown-to-all"})


@pytest.mark.parametrize(
    ("vendor", "flag", "expected"),
    [
        (INTEL, "ibrs", {"spec-ctrl"}),
        (INTEL, "ibpb", set()),
        (INTEL, "stibp", {"stibp"}),
        (INTEL, "ssbd", {"ssbd"}),
        (AMD, "ibpb", {"ibpb"}),
        (AMD, "stibp", {"amd-stibp"}),
        (AMD, "ssbd", set()),
        (AMD, "virt_ssbd", {"virt-ssbd"}),
        ("SomebodyElse", "ibrs", set()),
    ],
)
def test_mitigations(installed: X86Map, vendor: str, flag: str, expected: set[str]) -> None:
    """Names of what the kernel does; the feature behind each depends on the vendor."""
    found = names(installed, {"flags": flag, "vendor_id": vendor})

    assert expected == found


def test_identity() -> None:
    """Vendor and signature, as CPUID has them."""
    lines = {"flags": "fpu", "vendor_id": INTEL, "cpu family": "6", "model": "85", "stepping": "7"}
    data = flags_data(X86, lines)

    assert data is not None
    assert Signature(family=6, model=85, stepping=7) == data.signature
    vendor = X86.vendor(X86.bits(data))
    assert vendor is not None
    assert "Intel" == vendor.name


@pytest.mark.parametrize(
    "lines",
    [
        {"vendor_id": "unknown"},
        {"cpu family": "6", "model": "85", "stepping": "unknown"},
        {"cpu family": "6", "model": "999", "stepping": "1"},
        {"cpu family": "-6", "model": "85", "stepping": "1"},
        {"cpu family": "²", "model": "85", "stepping": "1"},
    ],
)
def test_no_identity(lines: dict[str, str]) -> None:
    """What is no vendor and no signature is left out."""
    data = flags_data(X86, {"flags": "fpu", **lines})

    assert data is not None
    assert Signature(family=0, model=0, stepping=0) == data.signature
    assert X86.vendor(X86.bits(data)) is None


def test_no_flags() -> None:
    """Not an x86 processor's lines."""
    assert flags_data(X86, {"cpu": "POWER9", "flags": ""}) is None
