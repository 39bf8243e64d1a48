"""update and update_live: what a guest's CPU becomes here, and what it became."""

from __future__ import annotations

import pytest
from hypothesis import given

from guardd import cpu
from guardd.cpu.definition import Arch, Check, CPUDef, FeaturePolicy, Match, Mode
from guardd.cpu.driver import CompareResult, LiveData
from guardd.cpu.x86.data import CPUData, Register
from guardd.errors import (
    InvalidCPUData,
    NoModel,
    SpecificationMismatch,
    UnknownFeature,
    UnknownHost,
    UnknownModel,
)
from tests.cpu.definitions import X86_GUESTS, X86_HOSTS, guest, host, listed
from tests.cpu.maps import MAP, X86

HOST = host("Mid", "vmx", vendor="Intel")._replace(microcode=7, vendor_id="GenuineIntel")
REQUIRE = FeaturePolicy.REQUIRE


def update(definition: CPUDef, one: CPUDef | None = HOST) -> CPUDef:
    return cpu.update(MAP, Arch.X86_64, definition, one)


def test_host_model() -> None:
    """Model, vendor and features are the host's; the guest's own features go on top."""
    asked = guest("dropped", "+svm -vmx", mode=Mode.HOST_MODEL, check=Check.PARTIAL)
    expected = guest("Mid", "-vmx +svm", vendor="Intel", check=Check.PARTIAL)._replace(
        microcode=7,
        vendor_id="GenuineIntel",
    )
    assert expected == update(asked)


def test_host_model_keeps_a_vendor_id() -> None:
    """What the guest is to be shown as vendor is its own."""
    asked = CPUDef(mode=Mode.HOST_MODEL, model="Old", vendor_id="KVMKVMKVMKVM")
    assert update(asked).vendor_id == "KVMKVMKVMKVM"


def test_host_model_from_a_guest_type_host() -> None:
    """Domain capabilities have policies, and they are kept."""
    updated = update(guest(None, mode=Mode.HOST_MODEL), guest("New", "+svm -x2apic"))
    assert (updated.model, listed(updated)) == ("New", "+svm -x2apic -vmx")


def test_minimum() -> None:
    """All of the host's CPU, but whose vendor it is the guest says."""
    updated = update(guest("Old", "?vmx ?svm", match=Match.MINIMUM))
    assert (updated.model, updated.match, updated.vendor) == ("Mid", Match.EXACT, None)
    assert listed(updated) == "+vmx -svm"


def test_optional() -> None:
    """Optional features become what the host has of them; the rest stays, strict too."""
    updated = update(guest("Old", "?vmx !svm ?rdctl-no ?hv-vapic", match=Match.STRICT))
    assert (updated.model, updated.match) == ("Old", Match.STRICT)
    assert listed(updated) == "+vmx !svm -rdctl-no -hv-vapic"


def test_nothing_to_update() -> None:
    """Without anything relative the host is not looked at."""
    definition = guest("Old", "+bogus", match=Match.STRICT)
    assert definition == update(definition, None)


@pytest.mark.parametrize("policy", [FeaturePolicy.DISABLE, FeaturePolicy.REQUIRE])
def test_removed_features(policy: FeaturePolicy) -> None:
    """What QEMU took out of the model is written out, by a fresh start as disabled."""
    updated = cpu.update(MAP, Arch.X86_64, guest("New", "+svm"), None, policy)
    assert dict(updated.features) == {"svm": REQUIRE, "vmx": policy}
    assert listed(update(guest("New", "!vmx"))) == "!vmx"


@pytest.mark.parametrize(
    ("definition", "one", "error"),
    [
        (guest("Old", match=Match.MINIMUM), None, UnknownHost),
        (guest("Old", "?vmx"), None, UnknownHost),
        (guest(None, mode=Mode.HOST_MODEL), None, UnknownHost),
        (guest("Old", "?bogus"), HOST, UnknownFeature),
        (guest("bogus"), HOST, UnknownModel),
        (guest(None), HOST, NoModel),
        (guest("Old", "?vmx"), host("bogus"), UnknownModel),
    ],
)
def test_mistakes(definition: CPUDef, one: CPUDef | None, error: type[Exception]) -> None:
    """What cannot be updated is told by its kind."""
    with pytest.raises(error):
        update(definition, one)


@given(X86_HOSTS)
def test_host_model_runs_on_its_host(one: CPUDef) -> None:
    """Whatever host-model becomes on a host, that host accepts."""
    updated = update(guest(None, mode=Mode.HOST_MODEL), one)
    result = cpu.compare(MAP, Arch.X86_64, one, updated).result
    assert result in (CompareResult.IDENTICAL, CompareResult.SUPERSET)


@given(X86_HOSTS, X86_GUESTS)
def test_update_is_final(one: CPUDef, definition: CPUDef) -> None:
    """Once updated, a guest depends on no host any more."""
    updated = update(definition, one)
    assert updated == update(updated, None)


def live(
    on: str, off: str = "", *, unknown: int = 0, may_conflict: bool = False
) -> LiveData[CPUData]:
    enabled, disabled = (X86.data(X86.union(names.split())) for names in (on, off))
    registers = dict(disabled.registers)
    if unknown:
        registers[Register("cpuid", 4, 0, "eax")] = unknown
    return LiveData(enabled=enabled, disabled=CPUData(registers), may_conflict=may_conflict)


OLD = "fpu tsc mmx sse"


def update_live(definition: CPUDef, data: LiveData[CPUData]) -> CPUDef | None:
    return cpu.update_live(MAP, Arch.X86_64, definition, data)


@pytest.mark.parametrize(
    ("definition", "data", "expected"),
    [
        (guest("Old"), live(OLD), ""),
        (guest("Old", "+vmx"), live(OLD), "-vmx"),
        (guest("Old", "-svm"), live(f"{OLD} svm x2apic"), "+svm +x2apic"),
        (guest("Old"), live("fpu tsc mmx", "sse"), "-sse"),
        (guest("Old"), live(OLD, "vmx"), "-vmx"),
        (guest("Old"), live(OLD, unknown=1), ""),
        (guest("New", "-rdctl-no"), live(f"{OLD} sse2 hle avx2 rtm x2apic"), "-rdctl-no -vmx"),
        (guest("Old", "?bogus"), live(OLD), "?bogus"),
    ],
)
def test_live(definition: CPUDef, data: LiveData[CPUData], expected: str) -> None:
    """Without check='full' the definition becomes what QEMU gave."""
    updated = update_live(definition, data)
    assert updated is not None
    assert listed(updated) == expected


@pytest.mark.parametrize("mode", [Mode.HOST_MODEL, Mode.HOST_PASSTHROUGH, Mode.MAXIMUM])
def test_live_leaves_alone(mode: Mode) -> None:
    """A mode that promises nothing in particular is not touched unless check='full' is asked."""
    asked = guest(None, "+vmx", mode=mode)
    assert update_live(asked, live("svm")) is None
    full = asked._replace(check=Check.FULL)
    with pytest.raises(SpecificationMismatch, match="missing features: vmx"):
        update_live(full, live(""))


def test_live_of_an_open_mode() -> None:
    """What host-passthrough does not mention may be or not be."""
    full = guest(None, "+vmx -svm", mode=Mode.HOST_PASSTHROUGH, check=Check.FULL)
    assert full == update_live(full, live("vmx sse"))
    with pytest.raises(SpecificationMismatch, match=r"extra features: svm$"):
        update_live(full, live("vmx svm"))


@pytest.mark.parametrize(
    ("data", "extra", "missing"),
    [
        (live(f"{OLD} svm x2apic"), ("x2apic", "svm"), ()),
        (live("fpu tsc"), (), ("mmx", "sse")),
        (live(f"{OLD} svm", "vmx"), ("svm",), ("vmx",)),
        (live(OLD, unknown=1), (), ()),
    ],
)
def test_live_full(
    data: LiveData[CPUData], extra: tuple[str, ...], missing: tuple[str, ...]
) -> None:
    """check='full' means that not a bit may differ, not even one without a name."""
    with pytest.raises(SpecificationMismatch, match="guest CPU doesn't match") as caught:
        update_live(guest("Old", check=Check.FULL), data)
    assert (caught.value.extra, caught.value.missing) == (extra, missing)


def test_live_full_message() -> None:
    """The text is libvirt's own: names without a blank between them, in map order."""
    with pytest.raises(
        SpecificationMismatch,
        match=r"^guest CPU doesn't match specification: "
        r"extra features: x2apic,svm, missing features: mmx,sse$",
    ):
        update_live(guest("Old", check=Check.FULL), live("fpu tsc svm x2apic"))


def test_live_added_feature() -> None:
    """What QEMU later put into a model may be there or not, unless the guest mentions it."""
    features = f"{OLD} sse2 hle avx2 rtm x2apic rdctl-no"
    full = guest("New", check=Check.FULL)
    updated = update_live(full, live(f"{features} xsaves"))
    assert updated is not None
    assert listed(updated) == "+xsaves -vmx"
    disabled = update_live(full, live(features, "xsaves"))
    assert disabled is not None
    assert listed(disabled) == "-xsaves -vmx"
    with pytest.raises(SpecificationMismatch, match="extra features: xsaves"):
        update_live(guest("New", "-xsaves", check=Check.FULL), live(f"{features} xsaves"))


def test_live_conflict() -> None:
    """On and off at once: libvirt 11.3.0 refuses it, 9.0.0 takes it for off."""
    with pytest.raises(InvalidCPUData, match="feature 'sse' is both enabled and disabled"):
        update_live(guest("Old"), live(OLD, "sse"))
    updated = update_live(guest("Old"), live(OLD, "sse", may_conflict=True))
    assert updated is not None
    assert listed(updated) == "-sse"


def test_live_unknown_names() -> None:
    """A definition that the map does not know cannot be held against anything."""
    with pytest.raises(UnknownModel):
        update_live(guest("bogus"), live(OLD))
    with pytest.raises(UnknownFeature):
        update_live(guest("Old", "-bogus"), live(OLD))
