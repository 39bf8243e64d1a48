"""Features that a guest cannot see: what an MSR tells, without the CPUID bit that enumerates it."""

import pytest

from guardd import cpu
from guardd.cpu import CPUMap
from guardd.cpu.definition import Arch, CPUDef, FeaturePolicy
from guardd.probe.cpu_map import DIRECTORY, read_cpu_map


@pytest.fixture(scope="module")
def installed_map() -> CPUMap:
    if not DIRECTORY.is_dir():
        pytest.skip(f"no CPU map in {DIRECTORY}")
    return read_cpu_map()


@pytest.mark.parametrize(
    ("features", "hidden"),
    [
        # QEMU 10 sets it in a TCG guest's Cascadelake-Server-noTSX, and TCG has no such MSR
        (("rdctl-no",), {"rdctl-no"}),
        (("rdctl-no", "arch-capabilities"), set()),
        (("avx",), set()),
    ],
)
def test_hidden_features(
    installed_map: CPUMap, features: tuple[str, ...], hidden: set[str]
) -> None:
    """Only what the guest has no way to read counts as hidden."""
    guest = CPUDef(model="Nehalem", features=dict.fromkeys(features, FeaturePolicy.REQUIRE))

    assert frozenset(hidden) == cpu.hidden_features(installed_map, Arch.X86_64, guest)
