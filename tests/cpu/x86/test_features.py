"""expand, encode and the questions for one feature."""

from __future__ import annotations

import pytest
from hypothesis import given

from guardd import cpu
from guardd.cpu.definition import Arch, CPUDef, CPUType, FeaturePolicy
from guardd.cpu.x86.data import CPUData, Register
from guardd.errors import NoModel, UnknownFeature, UnknownModel, UnknownVendor
from tests.cpu.definitions import X86_HOSTS, guest, host, listed
from tests.cpu.maps import MAP, X86

X64 = Arch.X86_64


def test_expand_guest() -> None:
    """All of the model, required and disabled entries on top, sorted by name; the rest is lost."""
    expanded = cpu.expand(MAP, X64, guest("New", "+svm -rtm !invtsc ?xsaves ~mmx", vendor="Intel"))
    assert (
        listed(expanded) == "+avx2 +fpu +hle +mmx +rdctl-no -rtm +sse +sse2 +svm +tsc -vmx +x2apic"
    )
    assert (expanded.model, expanded.vendor) == ("New", "Intel")


def test_expand_host() -> None:
    """A host's features have no policy, and it has no removed ones."""
    expanded = cpu.expand(MAP, X64, host("New", "vmx"))
    assert listed(expanded) == "avx2 fpu hle mmx rdctl-no rtm sse sse2 tsc vmx x2apic"


@given(X86_HOSTS)
def test_expand_changes_nothing(one: CPUDef) -> None:
    """A definition and its expansion have the same features."""
    expanded = cpu.expand(MAP, X64, one)
    assert cpu.features(MAP, X64, one) == cpu.features(MAP, X64, expanded) == set(expanded.features)


def test_expand_needs_a_model() -> None:
    """Without a known model there is nothing to expand."""
    with pytest.raises(NoModel):
        cpu.expand(MAP, X64, CPUDef())
    with pytest.raises(UnknownModel, match="unknown CPU model bogus"):
        cpu.expand(MAP, X64, guest("bogus"))


def test_encode() -> None:
    """Each policy's features, the model's among the required."""
    encoded = cpu.encode(MAP, X64, guest("plain", "!sse +sse2 ?vmx -hle ~svm", vendor="AMD"))
    names = [X86.names(X86.bits(data)) for data in encoded]
    assert names == [("sse",), ("fpu", "tsc", "mmx", "sse2"), ("vmx",), ("hle",), ("svm",), ()]
    ebx, edx, ecx = (Register("cpuid", 0, 0, name) for name in ("ebx", "edx", "ecx"))
    text = b"".join(encoded.vendor.registers[reg].to_bytes(4, "little") for reg in (ebx, edx, ecx))
    assert text == b"AuthenticAMD"


def test_encode_host() -> None:
    """All that a host has is required; without a vendor there is no vendor's data."""
    encoded = cpu.encode(MAP, X64, host("plain", "vmx"))
    assert X86.names(X86.bits(encoded.require)) == ("fpu", "tsc", "mmx", "vmx")
    assert encoded.disable == encoded.vendor == CPUData()


def test_encode_mistakes() -> None:
    """The kinds of what cannot be encoded."""
    with pytest.raises(NoModel, match="no guest CPU model specified"):
        cpu.encode(MAP, X64, CPUDef())
    with pytest.raises(UnknownVendor, match="CPU vendor Cyrix not found"):
        cpu.encode(MAP, X64, guest("plain", vendor="Cyrix"))


@pytest.mark.parametrize(
    ("feature", "expected"), [("vmx", True), ("sse", True), ("rtm", False), ("svm", False)]
)
def test_has_feature(feature: str, *, expected: bool) -> None:
    """Of the definition and of its data: the model's features count, disabled ones do not."""
    definition = guest("Mid", "+vmx -rtm")
    data = cpu.encode(MAP, X64, host("Mid", "vmx")).require
    assert expected == cpu.has_feature(MAP, X64, definition, feature)
    assert cpu.data_has_feature(MAP, X64, data, feature) == (feature != "svm")


def test_has_unknown_feature() -> None:
    """Only internal names are known beside the map's."""
    assert not cpu.has_feature(MAP, X64, host("Old"), "hv-relaxed")
    with pytest.raises(UnknownFeature, match="unknown CPU feature AVX-2"):
        cpu.has_feature(MAP, X64, host("Old"), "AVX-2")
    with pytest.raises(UnknownFeature):
        cpu.data_has_feature(MAP, X64, CPUData(), "bogus")


def test_data_has_internal_feature() -> None:
    """The hypervisor's leaves; one of them is a feature of two bits."""
    data = CPUData({Register("cpuid", 0x40000003, 0, "eax"): 0x20})
    assert cpu.data_has_feature(MAP, X64, data, "hv-relaxed")
    assert not cpu.data_has_feature(MAP, X64, data, "hv-vapic")


def test_validate_features() -> None:
    """The first unknown name is told, whatever its policy; internal ones are unknown here."""
    cpu.validate_features(MAP, X64, guest("bogus", "-svm +vmx"))
    with pytest.raises(UnknownFeature, match="unknown CPU feature: hv-vapic"):
        cpu.validate_features(MAP, X64, guest("Old", "+vmx ?hv-vapic -bogus"))


def test_vendor_for_model() -> None:
    """The map's vendor, inherited too."""
    assert cpu.vendor_for_model(MAP, X64, "Mid") == "Intel"
    assert cpu.vendor_for_model(MAP, X64, "plain") is None
    assert cpu.vendor_for_model(MAP, X64, "bogus") is None


def test_host_type_counts_not_the_name() -> None:
    """Features without policy are a host's wherever they stand."""
    definition = host("Old", "vmx")._replace(type=CPUType.GUEST, features={"vmx": None})
    assert cpu.has_feature(MAP, X64, definition, "vmx")
    assert FeaturePolicy.REQUIRE not in definition.features.values()
