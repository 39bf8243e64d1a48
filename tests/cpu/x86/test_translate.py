"""translate: the nearest model that the hypervisor has, with the same features."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardd import cpu
from guardd.cpu.definition import Arch, Check, CPUDef, FeaturePolicy
from guardd.errors import NoModel, NoSuitableModel, UnknownModel
from tests.cpu.definitions import MODELS, X86_GUESTS, guest, listed
from tests.cpu.maps import MAP


def translate(definition: CPUDef, *models: str) -> CPUDef:
    return cpu.translate(MAP, Arch.X86_64, definition, dict.fromkeys(models, ()))


def test_translate() -> None:
    """Model and features change, nothing else does."""
    asked = guest("New", "!vmx ?svm", vendor="Intel", check=Check.FULL)
    translated = translate(asked, "plain", "Old", "K")
    assert (translated.model, listed(translated)) == (
        "Old",
        "+sse2 !vmx +x2apic +hle +avx2 +rtm +rdctl-no ?svm",
    )
    assert asked == translated._replace(model="New", features=asked.features)


def test_broken_tsx() -> None:
    """The signature of a model whose TSX is broken takes hle and rtm with it, as in libvirt."""
    assert listed(translate(guest("Mid"), "Old")) == "+sse2 +avx2"


def test_own_features_win() -> None:
    """What the guest says of a feature stands, in the place of the new model's list."""
    translated = translate(guest("Mid", "-rtm +svm"), "plain", "Mid-noTSX")
    assert (translated.model, listed(translated)) == ("Mid-noTSX", "+svm -rtm")


def test_models_vendor_counts() -> None:
    """The vendor of the model filters, not the one that is asked for."""
    assert translate(guest("Mid", vendor="AMD"), "K", "plain").model == "plain"


def test_signature_counts() -> None:
    """Mid-noTSX begins with the signature of Mid: Mid is its kin, whatever else is near."""
    translated = translate(guest("Mid-noTSX"), "Old", "Mid")
    assert (translated.model, listed(translated)) == ("Mid", "-hle -rtm")


def test_mistakes() -> None:
    """What cannot be translated."""
    with pytest.raises(NoSuitableModel):
        translate(guest("Mid"), "unheard-of")
    with pytest.raises(UnknownModel, match="Unknown CPU model bogus"):
        translate(guest("bogus"), "Old")
    with pytest.raises(NoModel):
        translate(CPUDef(), "Old")


@given(X86_GUESTS, st.lists(st.sampled_from(MODELS), min_size=1))
def test_same_features(definition: CPUDef, models: list[str]) -> None:
    """Under another name the guest has what it had, but for broken TSX."""
    try:
        translated = translate(definition, *models)
    except NoSuitableModel:
        return
    before, after = (cpu.features(MAP, Arch.X86_64, each) for each in (definition, translated))
    unsettled = {
        name
        for name, policy in definition.features.items()
        if policy in (FeaturePolicy.OPTIONAL, FeaturePolicy.FORBID)
    }
    assert before - unsettled - {"hle", "rtm"} == after - unsettled - {"hle", "rtm"}
