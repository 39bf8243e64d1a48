"""What a feature is for, so that fifty names can be said in five words.

Source: Intel SDM volume 1, chapter 5 ("Instruction set summary") and volume 2, CPUID; AMD APM
volume 3, appendix D; the vendors' notes on speculative execution for what mitigates what.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType


class Meaning(StrEnum):
    """What features are for, in the words that a person is told, most urgent first."""

    MITIGATION = "security mitigations"
    PROTECTION = "kernel protection (SMEP, SMAP, PKU, ...)"
    NESTED = "nested virtualisation"
    AVX512 = "AVX-512 and AVX10"
    AMX = "AMX"
    AVX = "AVX, AVX2 and FMA"
    SSE = "SSE"
    CRYPTO = "cryptography (AES, SHA, ...)"
    BITS = "bit manipulation"
    TSX = "transactional memory (TSX)"
    SGX = "SGX enclaves"
    STATE = "saving of extended state (XSAVE)"
    TIME = "time stamp counter and timers"
    MEMORY = "paging and memory"
    TRACING = "performance monitoring and tracing"
    LEGACY = "old instructions (3DNow!, XOP, ...)"
    OTHER = "other features"


_NAMES: Mapping[Meaning, str] = MappingProxyType(
    {
        Meaning.MITIGATION: (
            "md-clear spec-ctrl stibp arch-capabilities core-capability ssbd ibpb ibrs amd-stibp"
            " amd-ssbd virt-ssbd amd-no-ssb rdctl-no ibrs-all rsba skip-l1dfl-vmentry ssb-no mds-no"
            " pschange-mc-no tsx-ctrl taa-no flush-l1d intel-psfd amd-psfd ipred-ctrl rrsba-ctrl"
            " ddpd-u bhi-ctrl mcdt-no stibp-always-on no-nested-data-bp lfence-always-serializing"
            " auto-ibrs eraps sbpb ibpb-brtype srso-no srso-user-kernel-no sbdr-ssdp-no fbsdp-no"
            " psdp-no fb-clear pbrsb-no gds-no rfds-no rfds-clear split-lock-detect bus-lock-detect"
        ),
        Meaning.PROTECTION: "smep smap umip pku ospke pks nx mpx lam cet-ss cet-ibt",
        Meaning.NESTED: (
            "vmx svm npt lbrv svm-lock nrip-save tsc-scale vmcb-clean flushbyasid decodeassists"
            " pause-filter pfthreshold avic v-vmsave-vmload vgif svme-addr-chk vnmi skinit smx"
        ),
        Meaning.AVX: (
            "avx avx2 fma f16c avx-vnni avx-ifma avx-vnni-int8 avx-vnni-int16 avx-ne-convert"
        ),
        Meaning.SSE: (
            "mmx mmxext sse sse2 pni ssse3 sse4.1 sse4.2 sse4a misalignsse fxsr fxsr_opt"
        ),
        Meaning.CRYPTO: ("aes pclmuldq vaes vpclmulqdq sha-ni sha512 sm3 sm4 gfni rdrand rdseed"),
        Meaning.BITS: "popcnt bmi1 bmi2 abm movbe adx lahf_lm cmov cx8 cx16 cmpccxadd",
        Meaning.TSX: "hle rtm tsx-ldtrk",
        Meaning.STATE: (
            "xsave osxsave xsaveopt xsavec xgetbv1 xsaves xfd xsaveerptr fdp-excptn-only"
            " zero-fcs-fds"
        ),
        Meaning.TIME: "tsc invtsc tsc-deadline tsc_adjust rdtscp arat waitpkg apic x2apic extapic",
        Meaning.MEMORY: (
            "pae pse pse36 pge mtrr pat pdpe1gb lm la57 pcid invpcid clflush clflushopt clwb"
            " pcommit clzero erms fsrm fzrm fsrs fsrc wbnoinvd cldemote movdiri movdir64b fsgsbase"
            " 3dnowprefetch prefetchiti"
        ),
        Meaning.TRACING: (
            "ds ds_cpl dtes64 pdcm perfctr_core perfctr_nb perfmon-v2 arch-lbr intel-pt"
            " intel-pt-lip cmt mbm_total mbm_local ibs lwp"
        ),
        Meaning.LEGACY: "3dnow 3dnowext xop fma4 tbm cvt16 ia64 pbe",
    }
)
# families of names that grow with each generation
_PREFIXES = (
    ("vmx-", Meaning.NESTED),
    ("avx512", Meaning.AVX512),
    ("avx10", Meaning.AVX512),
    ("amx-", Meaning.AMX),
    ("sgx", Meaning.SGX),
)
_MEANINGS: Mapping[str, Meaning] = MappingProxyType(
    {name: meaning for meaning, names in _NAMES.items() for name in names.split()}
)


def meaning_of(feature: str) -> Meaning:
    """Say what *feature*, a name in libvirt's words, is for."""
    for prefix, meaning in _PREFIXES:
        if feature.startswith(prefix):
            return meaning
    return _MEANINGS.get(feature, Meaning.OTHER)


def by_meaning(features: Iterable[str]) -> dict[Meaning, list[str]]:
    """Sort *features* into groups, the most urgent group first; names keep their order."""
    groups: dict[Meaning, list[str]] = {}
    for feature in features:
        groups.setdefault(meaning_of(feature), []).append(feature)
    return {meaning: groups[meaning] for meaning in Meaning if meaning in groups}
