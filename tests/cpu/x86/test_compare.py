"""compare: the rules one by one, each with what it names as the reason."""

from __future__ import annotations

import pytest
from hypothesis import given

from guardd import cpu
from guardd.cpu.definition import Arch, CPUDef, CPUType, FeaturePolicy, Match
from guardd.cpu.driver import CompareResult, Comparison, Difference
from guardd.errors import UnknownFeature, UnknownModel
from tests.cpu.definitions import X86_GUESTS, X86_HOSTS, guest, host
from tests.cpu.maps import MAP

HOST = host("Mid", "vmx", vendor="Intel")
IDENTICAL = Comparison(CompareResult.IDENTICAL)
SUPERSET = Comparison(CompareResult.SUPERSET)


def no(difference: Difference, *subjects: str) -> Comparison:
    return Comparison.incompatible(difference, *subjects)


@pytest.mark.parametrize(
    ("definition", "expected"),
    [
        (guest("Mid", "+vmx"), IDENTICAL),
        (host("Mid", "vmx"), IDENTICAL),
        (guest("Mid"), SUPERSET),
        (guest("Old", match=Match.MINIMUM), SUPERSET),
        (guest("Mid", match=Match.STRICT), no(Difference.EXTRA, "vmx")),
        (guest("Mid", "+vmx", match=Match.STRICT), IDENTICAL),
        (guest("Mid", "?vmx", match=Match.STRICT), IDENTICAL),
        (guest("Mid", "-vmx", match=Match.STRICT), IDENTICAL),
        (guest("New"), no(Difference.MISSING, "x2apic", "rdctl-no")),
        (guest("New", "!x2apic -rdctl-no"), SUPERSET),
        (guest("New", "?x2apic ?rdctl-no"), SUPERSET),
        (guest("Old", "+svm"), no(Difference.MISSING, "svm")),
        (guest("Old", "~svm"), SUPERSET),
        (guest("Old", "~rtm ~vmx ~svm"), no(Difference.FORBIDDEN, "vmx", "rtm")),
        # a forbidden feature of the model itself is still required
        (guest("New", "~x2apic -rdctl-no"), no(Difference.MISSING, "x2apic")),
        (guest("Mid", vendor="AMD"), no(Difference.VENDOR, "AMD")),
        (guest("Mid", vendor="Intel"), SUPERSET),
        (host("Mid", "svm"), no(Difference.MISSING, "svm")),
        # the map's vendor of a model is not looked at
        (guest("K", "-svm"), SUPERSET),
    ],
)
def test_compare(definition: CPUDef, expected: Comparison) -> None:
    """What libvirt answers, worked out by hand."""
    assert expected == cpu.compare(MAP, Arch.X86_64, HOST, definition)


def test_unknown_host() -> None:
    """A host whose CPU could not be named is compatible with nothing."""
    nobody = CPUDef(type=CPUType.HOST, arch=Arch.X86_64)
    expected = no(Difference.UNKNOWN_HOST)
    assert expected == cpu.compare(MAP, Arch.X86_64, nobody, guest("bogus"))


@pytest.mark.parametrize("arch", [Arch.X86_64, Arch.I686])
def test_arch(arch: Arch) -> None:
    """32 and 64 bits are one family; another architecture is told before its model is looked up."""
    same = CPUDef(type=CPUType.HOST, arch=arch, model="Mid", features={"vmx": None})
    other = CPUDef(type=CPUType.HOST, arch=Arch.PPC64, model="POWER9")
    assert cpu.compare(MAP, arch, HOST, same) == IDENTICAL
    assert cpu.compare(MAP, arch, HOST, other) == no(Difference.ARCH, "ppc64")


def test_host_without_vendor() -> None:
    """A vendor that is asked for must be there."""
    expected = no(Difference.VENDOR, "Intel")
    assert expected == cpu.compare(MAP, Arch.X86_64, host("Mid"), guest("Old", vendor="Intel"))


def test_features_of_a_guest_type_host() -> None:
    """A host-model from domain capabilities has policies: what is disabled is not there."""
    reported = guest("Mid", "-rtm +vmx ?svm")
    assert cpu.compare(MAP, Arch.X86_64, reported, guest("Old", "+rtm")) == no(
        Difference.MISSING, "rtm"
    )
    assert cpu.compare(MAP, Arch.X86_64, reported, guest("Old", "+vmx")) == SUPERSET


def test_unknown_names() -> None:
    """What the map does not know is an error, not an incompatibility; an alias is unknown."""
    with pytest.raises(UnknownModel, match="bogus"):
        cpu.compare(MAP, Arch.X86_64, HOST, guest("bogus"))
    with pytest.raises(UnknownFeature, match="AVX-2"):
        cpu.compare(MAP, Arch.X86_64, HOST, guest("Mid", "-AVX-2"))
    with pytest.raises(UnknownFeature, match="bogus"):
        cpu.compare(MAP, Arch.X86_64, host("Mid", "bogus"), guest("Mid"))


@given(X86_HOSTS)
def test_host_with_itself(definition: CPUDef) -> None:
    """Every host is identical with itself."""
    assert cpu.compare(MAP, Arch.X86_64, definition, definition) == IDENTICAL


@given(X86_HOSTS, X86_GUESTS)
def test_no_without_a_reason(one: CPUDef, other: CPUDef) -> None:
    """The function that decides is the one that explains."""
    comparison = cpu.compare(MAP, Arch.X86_64, one, other)
    assert (comparison.result is CompareResult.INCOMPATIBLE) == bool(comparison.subjects)


@given(X86_HOSTS, X86_GUESTS)
def test_yes_means_that_all_is_there(one: CPUDef, other: CPUDef) -> None:
    """A guest that is let through has every feature it requires."""
    comparison = cpu.compare(MAP, Arch.X86_64, one, other)
    if comparison.result is not CompareResult.INCOMPATIBLE:
        required = {n for n, p in other.features.items() if p is FeaturePolicy.REQUIRE}
        assert required <= cpu.features(MAP, Arch.X86_64, one)
