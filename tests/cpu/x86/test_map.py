"""The x86 part of the map: what models inherit, and the bits behind the names."""

from __future__ import annotations

import pytest

from guardd.cpu.definition import Signature
from guardd.cpu.x86.data import CPUData, Register
from guardd.cpu.x86.driver import DRIVER
from guardd.cpu.x86.map import X86Map, compat_check, load
from guardd.errors import UnknownFeature, UnknownModel
from tests.cpu.maps import MAP, X86, spoiled


def test_inherited() -> None:
    """A model has its ancestor's vendor, signatures and features, and not its decode flags."""
    model = X86.model("Mid-noTSX")
    assert model.vendor == "Intel"
    assert X86.names(model.bits) == ("fpu", "tsc", "mmx", "sse", "sse2", "avx2")
    assert [(s.family, s.model) for s in model.signatures] == [(6, 60), (6, 63)]
    assert not X86.model("hidden").decode_host
    assert X86.model("New-v1").signatures == X86.model("New").signatures
    assert X86.model("New-v1").removed == ()


def test_removed_and_added_are_not_in_the_model() -> None:
    """QEMU does not give them with the model; they are only named."""
    model = X86.model("New")
    assert (model.removed, model.added) == (("vmx",), ("xsaves",))
    assert not {"vmx", "xsaves"} & set(X86.names(model.bits))


def test_removed_wins_over_added() -> None:
    """Of the two libvirt looks at removed first."""
    read = spoiled("x86_models.xml", "removed='yes'", "removed='yes' added='yes'")
    assert load(read).model("New").removed == ("vmx",)


def test_canonical() -> None:
    """A model that says nothing of its own is the canonical name of its ancestor."""
    assert X86.canonical == {"New": "New-v1"}


@pytest.mark.parametrize(("stepping", "expected"), [(4, False), (5, True), (6, False), (7, True)])
def test_steppings(stepping: int, *, expected: bool) -> None:
    """Ranges, and numbers taken out again, as in libvirt's bitmaps."""
    (signature,) = X86.model("New").signatures
    assert expected == signature.matches(Signature(family=6, model=85, stepping=stepping))


def test_compat_check() -> None:
    """Without one <check> in the whole map it is of a libvirt that compares every model."""
    assert compat_check(X86, "New")
    assert not compat_check(X86, "New-v1")
    with pytest.raises(UnknownModel):
        compat_check(X86, "none")
    old = X86Map()
    old.models = {name: X86.models[name] for name in ("New-v1", "hidden")}
    assert compat_check(old, "New-v1")


def test_unknown_names() -> None:
    """Aliases are no names of features, in libvirt either."""
    with pytest.raises(UnknownFeature, match="Unknown CPU feature AVX-2"):
        X86.feature("AVX-2")
    with pytest.raises(UnknownFeature, match="unknown CPU feature bogus"):
        X86.any_feature("bogus")
    with pytest.raises(UnknownModel, match="Unknown CPU model bogus"):
        X86.model("bogus")


def test_internal_features() -> None:
    """The hypervisor's features have bits, and are in no list of names."""
    vapic = X86.any_feature("hv-vapic").bits
    assert vapic == X86.any_feature("hv-relaxed").bits | X86.any_feature("hv-xmm_input").bits
    assert X86.names(vapic) == ()


def test_bits_and_data() -> None:
    """Bits stand for registers; a register that the map does not use has none."""
    avx2 = Register("cpuid", 7, 0, "ebx")
    other = Register("cpuid", 2, 0, "eax")
    bits = X86.bits(CPUData({avx2: 0x20, other: 1}))
    assert X86.names(bits) == ("avx2",)
    assert X86.data(bits).registers == {avx2: 0x20}


def test_vendor_is_a_masked_test() -> None:
    """The first vendor all of whose bits are set, as libvirt looks."""
    bits = X86.vendors["Intel"].bits | X86.vendors["AMD"].bits
    vendor = X86.vendor(bits)
    assert vendor is not None
    assert vendor.name == "Intel"
    assert X86.vendor(0) is None


def test_take_takes_bits_once() -> None:
    """Where features overlap, a bit that one name stands for is gone for the next."""
    read = spoiled("x86_features.xml", "edx='0x00800000'", "edx='0x02800000'")
    x86 = load(read)
    bits = x86.feature("mmx").bits
    assert x86.names(bits) == ("mmx", "sse")
    assert x86.take(bits) == ("mmx",)


def test_part_of_the_whole() -> None:
    """It is loaded once."""
    assert MAP.part(DRIVER) is X86
