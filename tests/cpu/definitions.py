"""Short ways to write CPU definitions, and strategies that make many."""

from __future__ import annotations

from types import MappingProxyType

from hypothesis import strategies as st

from guardd.cpu.definition import (
    TSC,
    Arch,
    Cache,
    CacheMode,
    Check,
    CPUDef,
    CPUType,
    Fallback,
    FeaturePolicy,
    Match,
    MaxPhysAddr,
    Mode,
    PhysAddrMode,
    Signature,
    Topology,
)
from tests.strategies import values

FEATURES = (
    *("fpu", "tsc", "mmx", "sse", "sse2", "vmx", "x2apic", "hle", "avx2", "rtm", "xsaves", "svm"),
    *("invtsc", "rdctl-no"),
)
MODELS = ("plain", "hidden", "Old", "Mid", "Mid-noTSX", "New", "New-v1", "K")

POLICIES = {
    "!": FeaturePolicy.FORCE,
    "+": FeaturePolicy.REQUIRE,
    "?": FeaturePolicy.OPTIONAL,
    "-": FeaturePolicy.DISABLE,
    "~": FeaturePolicy.FORBID,
}


def host(model: str, features: str = "", *, vendor: str | None = None) -> CPUDef:
    """Give an x86 host; *features* are names with blanks between them."""
    names = dict.fromkeys(features.split())
    return CPUDef(
        type=CPUType.HOST,
        arch=Arch.X86_64,
        model=model,
        vendor=vendor,
        features=MappingProxyType(names),
    )


def guest(
    model: str | None,
    features: str = "",
    *,
    vendor: str | None = None,
    mode: Mode = Mode.CUSTOM,
    match: Match = Match.EXACT,
    check: Check | None = None,
) -> CPUDef:
    """Give a guest CPU; each name in *features* begins with its policy's sign."""
    return CPUDef(
        model=model,
        vendor=vendor,
        mode=mode,
        match=match,
        check=check,
        features=MappingProxyType({word[1:]: POLICIES[word[0]] for word in features.split()}),
    )


def listed(definition: CPUDef) -> str:
    """Give the features of *definition* as `host` and `guest` take them."""
    signs = {policy: sign for sign, policy in POLICIES.items()}
    return " ".join(
        name if policy is None else signs[policy] + name
        for name, policy in definition.features.items()
    )


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cn")), min_size=1)
COUNTS = st.integers(1, 512)
TOPOLOGIES = st.builds(
    Topology, sockets=COUNTS, dies=COUNTS, clusters=COUNTS, cores=COUNTS, threads=COUNTS
)
CACHES = st.builds(
    Cache, level=st.none() | st.integers(1, 3), mode=st.sampled_from(list(CacheMode))
)
ADDRESSES = st.builds(
    MaxPhysAddr,
    mode=st.just(PhysAddrMode.PASSTHROUGH),
    bits=st.none() | st.integers(0, 64),
    limit=st.none() | st.integers(1, 64),
)
SIGNATURES = st.builds(
    Signature,
    family=st.integers(1, 255 + 15),
    model=st.integers(0, 255),
    stepping=st.integers(0, 15),
)


def feature_maps(*policies: FeaturePolicy | None) -> st.SearchStrategy[dict[str, object]]:
    """Give features of the small map, each with one of *policies*."""
    return st.dictionaries(st.sampled_from(FEATURES), st.sampled_from(policies))


X86_HOSTS = values(
    CPUDef,
    type=st.just(CPUType.HOST),
    arch=st.just(Arch.X86_64),
    model=st.sampled_from(MODELS),
    features=feature_maps(None),
)
X86_GUESTS = values(
    CPUDef,
    model=st.sampled_from(MODELS),
    match=st.sampled_from(list(Match)),
    features=feature_maps(*FeaturePolicy),
)
# definitions with all that the XML can say, as a parser would give them
GUESTS = values(
    CPUDef,
    mode=st.just(Mode.CUSTOM),
    match=st.sampled_from(list(Match)),
    check=st.none() | st.sampled_from(list(Check)),
    fallback=st.sampled_from(list(Fallback)),
    deprecated_features=st.none() | st.booleans(),
    model=TEXT,
    vendor=st.none() | TEXT,
    vendor_id=st.none() | st.just("a&b<c>d'e\"fg"),
    topology=st.none() | TOPOLOGIES,
    cache=st.none() | CACHES,
    maxphysaddr=st.none() | ADDRESSES,
    features=st.dictionaries(TEXT, st.sampled_from(list(FeaturePolicy))),
)
OPEN_GUESTS = values(
    CPUDef,
    mode=st.sampled_from([Mode.HOST_PASSTHROUGH, Mode.MAXIMUM]),
    match=st.just(Match.EXACT),
    check=st.none() | st.sampled_from(list(Check)),
    migratable=st.none() | st.booleans(),
    features=st.dictionaries(TEXT, st.sampled_from(list(FeaturePolicy))),
)
# without mode and so without model: see test_xml
HOSTS = values(
    CPUDef,
    type=st.just(CPUType.HOST),
    mode=st.just(Mode.CUSTOM),
    arch=st.sampled_from(list(Arch)),
    model=TEXT,
    vendor=st.none() | TEXT,
    microcode=st.none() | st.integers(1, 0xFFFFFFFF),
    signature=st.none() | SIGNATURES,
    tsc=st.none()
    | st.builds(TSC, frequency=st.integers(0, 2**40), scaling=st.none() | st.booleans()),
    topology=st.none() | TOPOLOGIES,
    features=st.dictionaries(TEXT, st.none()),
)
