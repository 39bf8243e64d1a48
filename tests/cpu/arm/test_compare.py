"""What libvirt's Arm driver answers, and what it leaves to QEMU."""

from __future__ import annotations

import pytest

from guardd import cpu
from guardd.cpu.arm.decode import get_host
from guardd.cpu.arm.driver import DRIVER
from guardd.cpu.arm.midr import MIDR
from guardd.cpu.definition import Arch, CPUDef, CPUType, FeaturePolicy, Match, Mode
from guardd.cpu.driver import CompareResult, Comparison, Difference
from guardd.errors import (
    NoSuitableModel,
    UnknownFeature,
    UnknownHost,
    UnknownVendor,
    UnsupportedModel,
)
from tests.cpu.maps import MAP

ARM = MAP.part(DRIVER)


def host(model: str | None, vendor: str | None = "ARM") -> CPUDef:
    return CPUDef(
        type=CPUType.HOST, arch=Arch.AARCH64, model=model, vendor=vendor, features={"fp": None}
    )


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (host("a"), host("a"), Comparison(CompareResult.IDENTICAL)),
        (host("a", None), host("a", None), Comparison(CompareResult.IDENTICAL)),
        (host("a"), host("b"), Comparison.incompatible(Difference.MODEL, "b")),
        (host("a"), host("a", "Cavium"), Comparison.incompatible(Difference.VENDOR, "Cavium")),
        (host("a"), host("a", None), Comparison.incompatible(Difference.VENDOR, "none")),
        (host(None), host("a"), Comparison.incompatible(Difference.UNKNOWN_HOST)),
    ],
)
def test_compare_hosts(one: CPUDef, other: CPUDef, expected: Comparison) -> None:
    """Two hosts are compared by what they are called."""
    assert expected == cpu.compare(MAP, Arch.AARCH64, one, other)


def test_compare_guest() -> None:
    """Of any guest libvirt says "identical"; that is no answer, and is told as such."""
    result = cpu.compare(MAP, Arch.AARCH64, host(None), CPUDef(model="bogus")).result
    assert result is CompareResult.UNCHECKED
    assert result.as_libvirt is CompareResult.IDENTICAL


def test_baseline() -> None:
    """The first is taken, and libvirt looks at no other."""
    expected = CPUDef(model="cortex-a72")
    cpus = [host("cortex-a72"), host("Neoverse-N1")]
    assert expected == cpu.baseline(MAP, Arch.AARCH64, cpus)


def test_update() -> None:
    """host-model becomes the host's and loses what the guest said; the rest stays."""
    asked = CPUDef(mode=Mode.HOST_MODEL, features={"sve": FeaturePolicy.DISABLE})
    updated = cpu.update(MAP, Arch.AARCH64, asked, host("cortex-a72"))
    assert (updated.mode, updated.match, updated.model, updated.vendor) == (
        *(Mode.CUSTOM, Match.EXACT),
        *("cortex-a72", "ARM"),
    )
    assert dict(updated.features) == {"fp": FeaturePolicy.REQUIRE}
    custom = CPUDef(model="max", match=Match.MINIMUM, features={"sve": FeaturePolicy.OPTIONAL})
    assert custom == cpu.update(MAP, Arch.AARCH64, custom, None)
    with pytest.raises(UnknownHost):
        cpu.update(MAP, Arch.AARCH64, asked, None)


def test_validate_features() -> None:
    """Only the map's features, few as they are."""
    cpu.validate_features(MAP, Arch.ARMV7L, CPUDef(features={"sve256": FeaturePolicy.REQUIRE}))
    with pytest.raises(UnknownFeature, match="unknown CPU feature: fp"):
        cpu.validate_features(MAP, Arch.AARCH64, CPUDef(features={"fp": FeaturePolicy.REQUIRE}))


def test_midr() -> None:
    """The fields of a Neoverse-N1's register."""
    expected = MIDR(implementer=0x41, variant=3, part=0xD0C, revision=1)
    assert expected == MIDR.of(0x413FD0C1)


def test_get_host() -> None:
    """As `virsh capabilities` has it: model by part, vendor by code, features by hwcap bit."""
    result = get_host(ARM, MIDR.of(0x413FD0C1), 0b1000_0000_0000_0000_0000_0000_0000_1011)
    assert (result.model, result.vendor) == ("Neoverse-N1", "ARM")
    assert list(result.features) == ["fp", "asimd", "aes", "pacg"]
    assert get_host(ARM, MIDR.of(0x003FD0C1), 0).vendor is None


def test_get_host_unknown() -> None:
    """What the map does not know is told by its number."""
    with pytest.raises(NoSuitableModel, match="PVR 0xd0d, vendor id 0x41"):
        get_host(ARM, MIDR.of(0x413FD0D1), 0)
    with pytest.raises(UnknownVendor, match="vendor id 0x42"):
        get_host(ARM, MIDR.of(0x423FD0C1), 0)
    with pytest.raises(UnsupportedModel, match="Neoverse-N1 is not supported"):
        get_host(ARM, MIDR.of(0x413FD0C1), 0, {"cortex-a72": ()})
