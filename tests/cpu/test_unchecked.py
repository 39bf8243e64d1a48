"""The drivers that leave the decision to QEMU: s390x, riscv64, loongarch64."""

from __future__ import annotations

import pytest

from guardd import cpu
from guardd.cpu.definition import Arch, CPUDef, FeaturePolicy, Match, Mode
from guardd.cpu.driver import CompareResult
from guardd.errors import UnknownHost, UnsupportedPolicy
from tests.cpu.maps import MAP

HOST = CPUDef(model="z14-base", features={"aen": FeaturePolicy.REQUIRE, "te": None})
HOST_MODEL = CPUDef(
    mode=Mode.HOST_MODEL, features={"te": FeaturePolicy.DISABLE, "own": FeaturePolicy.FORCE}
)


@pytest.mark.parametrize("arch", [Arch.S390, Arch.S390X, Arch.RISCV64, Arch.LOONGARCH64])
def test_compare(arch: Arch) -> None:
    """Of anything libvirt says "identical"; we do not claim to know."""
    result = cpu.compare(MAP, arch, CPUDef(), CPUDef(model="bogus")).result
    assert result is CompareResult.UNCHECKED


def test_update_s390x() -> None:
    """host-model becomes the host's, with the guest's own features on top."""
    updated = cpu.update(MAP, Arch.S390X, HOST_MODEL, HOST)
    assert (updated.mode, updated.match, updated.model) == (Mode.CUSTOM, Match.EXACT, "z14-base")
    assert dict(updated.features) == {
        "aen": FeaturePolicy.REQUIRE,
        "te": FeaturePolicy.DISABLE,
        "own": FeaturePolicy.FORCE,
    }
    custom = CPUDef(model="z13", features={"te": FeaturePolicy.FORBID})
    assert custom == cpu.update(MAP, Arch.S390X, custom, None)


@pytest.mark.parametrize(
    ("definition", "problem"),
    [
        (CPUDef(model="z13", match=Match.MINIMUM), "match mode minimum not supported"),
        (CPUDef(model="z13", features={"te": FeaturePolicy.OPTIONAL}), "optional CPU features"),
    ],
)
def test_update_s390x_refuses(definition: CPUDef, problem: str) -> None:
    """What libvirt cannot do on s390x."""
    with pytest.raises(UnsupportedPolicy, match=problem):
        cpu.update(MAP, Arch.S390X, definition, HOST)


def test_update_riscv64() -> None:
    """host-model becomes the host's, and the guest's own features are lost."""
    updated = cpu.update(MAP, Arch.RISCV64, HOST_MODEL, HOST)
    assert (updated.mode, updated.model) == (Mode.CUSTOM, "z14-base")
    assert set(updated.features) == {"aen", "te"}
    custom = CPUDef(model="rv64", match=Match.MINIMUM)
    assert custom == cpu.update(MAP, Arch.RISCV64, custom, None)


@pytest.mark.parametrize("arch", [Arch.S390X, Arch.RISCV64])
def test_update_without_host(arch: Arch) -> None:
    """host-model without a host cannot be written out."""
    with pytest.raises(UnknownHost):
        cpu.update(MAP, arch, HOST_MODEL, None)


def test_update_loongarch64() -> None:
    """Nothing happens, to host-model neither."""
    assert cpu.update(MAP, Arch.LOONGARCH64, HOST_MODEL, None) == HOST_MODEL


def test_validate_features_s390x() -> None:
    """Optional is refused; libvirt lets force and forbid through, whatever its message says."""
    cpu.validate_features(MAP, Arch.S390X, HOST_MODEL)
    optional = CPUDef(model="z13", features={"te": FeaturePolicy.OPTIONAL})
    with pytest.raises(UnsupportedPolicy, match="are supported for te"):
        cpu.validate_features(MAP, Arch.S390X, optional)


@pytest.mark.parametrize(
    ("model", "vendor"), [("z13", "IBM"), ("gen15a-base", "IBM"), ("qemu", None)]
)
def test_vendor_for_model(model: str, vendor: str | None) -> None:
    """IBM's machines are known by their names."""
    assert vendor == cpu.vendor_for_model(MAP, Arch.S390X, model)
