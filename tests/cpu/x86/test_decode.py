"""decode: the choice of a model, rule by rule."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardd import cpu
from guardd.cpu.definition import Arch, CPUDef, CPUType, Fallback, FeaturePolicy, Signature
from guardd.cpu.driver import NO_LIMITS, Limits
from guardd.cpu.x86.data import SIGNATURE, CPUData, encode_signature
from guardd.cpu.x86.decode import _size
from guardd.cpu.xml import format_cpu
from guardd.errors import NoSuitableModel, UnsupportedModel
from tests.cpu.definitions import FEATURES, listed
from tests.cpu.maps import MAP, X86

GUEST = CPUDef(fallback=Fallback.FORBID)
HOST = CPUDef(type=CPUType.HOST, arch=Arch.X86_64)

PLAIN = "fpu tsc mmx"
MID = f"{PLAIN} sse sse2 hle avx2 rtm"


def data(
    features: str, vendor: str | None = None, signature: tuple[int, int, int] = (0, 0, 0)
) -> CPUData:
    """Give the CPU data with *features*, leaf 0 and family, model, stepping in leaf 1."""
    family, model, stepping = signature
    bits = X86.union(features.split())
    if vendor is not None:
        bits |= X86.vendors[vendor].bits
    eax = encode_signature(Signature(family=family, model=model, stepping=stepping))
    return X86.data(bits | eax << X86.positions[SIGNATURE])


def decode(stub: CPUDef, cpu_data: CPUData, limits: Limits = NO_LIMITS) -> str:
    """Decode, and give model and features in one line."""
    result = cpu.decode(MAP, Arch.X86_64, stub, cpu_data, limits)
    return f"{result.model} {listed(result)}".rstrip()


def test_result() -> None:
    """What stands in `virsh capabilities`, byte for byte."""
    result = cpu.decode(MAP, Arch.X86_64, HOST, data(f"{MID} vmx", "Intel", (6, 60, 3)))
    expected = """\
<cpu>
  <arch>x86_64</arch>
  <model>Mid-noTSX</model>
  <vendor>Intel</vendor>
  <signature family='6' model='60' stepping='3'/>
  <feature name='vmx'/>
</cpu>"""
    assert expected == format_cpu(result)


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        (PLAIN, "plain"),
        (f"{PLAIN} x2apic", "plain +x2apic"),  # "hidden" is decoded for nobody
        (f"{PLAIN} sse sse2 svm", "K"),
        (f"{MID} x2apic rdctl-no", "Mid +x2apic +rdctl-no"),  # as long as "New -vmx", but all on
        (f"{MID} x2apic rdctl-no invtsc vmx", "New +vmx +invtsc"),  # an alias is not for guests
        (f"{PLAIN} sse sse2 avx2 x2apic", "Mid-noTSX +x2apic"),
        ("fpu tsc", "plain -mmx"),
    ],
)
def test_guest(features: str, expected: str) -> None:
    """A guest may have a model of which something is missing."""
    assert expected == decode(GUEST, data(features))


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        (f"{MID} x2apic rdctl-no", "New-v1"),  # the later of equals in the map
        (f"{MID} x2apic", "Mid x2apic"),
        (f"{PLAIN} sse sse2 svm", "K"),
    ],
)
def test_host(features: str, expected: str) -> None:
    """A host has all of its model."""
    assert expected == decode(HOST, data(features))


def test_host_that_is_no_model() -> None:
    """Where even the smallest model is not whole there is no host CPU."""
    with pytest.raises(NoSuitableModel, match="Cannot find suitable CPU model"):
        decode(HOST, data("fpu"))


def test_vendor() -> None:
    """Models of another vendor are out; models without one fit all."""
    assert decode(GUEST, data(f"{PLAIN} sse sse2 svm", "Intel")) == "Old +sse2 +svm"
    assert decode(GUEST, data(PLAIN, "AMD")) == "plain"


def test_signature_before_size() -> None:
    """A model that is the CPU by its signature wins over one that is nearer by features."""
    assert decode(GUEST, data(f"{PLAIN} sse", "Intel", (6, 85, 5))).startswith("New ")
    assert decode(GUEST, data(f"{PLAIN} sse", "Intel", (6, 85, 6))) == "Old"


@pytest.mark.parametrize(
    ("signature", "expected"),
    [
        ((6, 60, 3), "Mid-noTSX"),
        ((6, 63, 3), "Mid-noTSX"),
        ((6, 63, 4), "Mid-noTSX +hle +rtm"),
    ],
)
def test_broken_tsx(signature: tuple[int, int, int], expected: str) -> None:
    """What the early Haswells say of hle and rtm is not believed."""
    assert expected == decode(GUEST, data(MID, "Intel", signature))


def test_hypervisors_models() -> None:
    """Only what the hypervisor offers; a blocker that the model has is disabled."""
    offered = Limits(models={"Old": (), "New": ("x2apic", "svm", "unknown")})
    assert decode(GUEST, data(f"{MID} x2apic rdctl-no svm"), offered) == ("New +svm -x2apic -vmx")
    with pytest.raises(NoSuitableModel):
        decode(GUEST, data(MID), Limits(models={"qemu64": ()}))


def test_one_preferred_model() -> None:
    """A single preferred model is taken even if another fits better, if it is for guests."""
    assert decode(GUEST, data(MID), Limits(preferred=("Old",))) == "Old +sse2 +hle +avx2 +rtm"
    assert decode(GUEST, data(MID), Limits(preferred=("New-v1",))) == "Mid"


def test_one_preferred_model_that_is_not_offered() -> None:
    """It is an error where no fallback is allowed."""
    limits = Limits(models={"Mid": ()}, preferred=("Old",))
    with pytest.raises(UnsupportedModel, match="Old is not supported by hypervisor"):
        decode(GUEST, data(MID), limits)
    assert decode(CPUDef(), data(MID), limits) == "Mid"


def test_several_preferred_models() -> None:
    """They only help a model that has less to disable than the best so far."""
    features = data(f"{MID} x2apic rdctl-no")
    offered = Limits(models={"New": (), "Mid-noTSX": ()})
    assert decode(GUEST, features, offered) == "New -vmx"
    preferring = offered._replace(preferred=("Old", "Mid-noTSX"))
    assert decode(GUEST, features, preferring) == "Mid-noTSX +x2apic +hle +rtm +rdctl-no"


def test_migratable() -> None:
    """What does not migrate is left out of the list."""
    features = f"{PLAIN} sse invtsc xsaves"
    assert decode(GUEST, data(features)) == "Old +xsaves +invtsc"
    assert decode(GUEST, data(features), Limits(migratable=True)) == "Old"


def test_stub_is_kept() -> None:
    """Nothing of the stub changes but the model and what belongs to it."""
    result = cpu.decode(MAP, Arch.X86_64, GUEST, data(PLAIN))
    assert (result.fallback, result.vendor, result.signature) == (Fallback.FORBID, None, None)


@pytest.mark.parametrize(("required", "disabled"), [(0, 0), (3, 1), (2, 2), (5, 7), (1, 12)])
def test_size(required: int, disabled: int) -> None:
    """The loop in libvirt, whose bound shrinks while it runs, counts what the formula says."""
    counted, penalty = required + disabled, 0
    index, cost = 0, 2
    while index < counted:
        if index >= required:
            counted -= 1
            penalty += cost
            cost += 1
        index += 1
    assert (counted + penalty, penalty) == _size(required, disabled)


@given(st.frozensets(st.sampled_from(FEATURES)))
def test_all_features_and_no_other(features: frozenset[str]) -> None:
    """Whatever model is chosen, the guest has the features of the data, no more and no less."""
    result = cpu.decode(MAP, Arch.X86_64, GUEST, data(" ".join(features)))
    assert features == cpu.features(MAP, Arch.X86_64, result)
    assert FeaturePolicy.FORBID not in result.features.values()
