"""Features by what they are for."""

import pytest

from guardd.cpu.x86.meaning import Meaning, by_meaning, meaning_of


@pytest.mark.parametrize(
    ("feature", "meaning"),
    [
        ("avx512f", Meaning.AVX512),
        ("avx512-bf16", Meaning.AVX512),
        ("avx10-256", Meaning.AVX512),
        ("avx2", Meaning.AVX),
        ("amx-tile", Meaning.AMX),
        ("vmx", Meaning.NESTED),
        ("vmx-ept-1gb", Meaning.NESTED),
        ("svm", Meaning.NESTED),
        ("md-clear", Meaning.MITIGATION),
        ("smep", Meaning.PROTECTION),
        ("sgx2", Meaning.SGX),
        ("sgxlc", Meaning.SGX),
        ("made-up", Meaning.OTHER),
        ("", Meaning.OTHER),
    ],
)
def test_meaning(feature: str, meaning: Meaning) -> None:
    """Families go by their prefix, the rest by name."""
    assert meaning is meaning_of(feature)


def test_groups_are_told_most_urgent_first() -> None:
    """What concerns security comes before what concerns speed, in whatever order it was found."""
    found = by_meaning(["avx512f", "vmx", "avx512bw", "md-clear"])

    assert {
        Meaning.MITIGATION: ["md-clear"],
        Meaning.NESTED: ["vmx"],
        Meaning.AVX512: ["avx512f", "avx512bw"],
    } == found
    assert [Meaning.MITIGATION, Meaning.NESTED, Meaning.AVX512] == list(found)
