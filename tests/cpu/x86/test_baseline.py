"""baseline: what several hosts have in common, and whose model and vendor it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardd import cpu
from guardd.cpu.definition import Arch, CPUDef, Fallback, Match
from guardd.cpu.driver import NO_LIMITS, CompareResult, Limits
from guardd.cpu.xml import format_cpu
from guardd.errors import (
    IncompatibleCPUs,
    NoSuitableModel,
    UnknownFeature,
    UnknownModel,
    UnknownVendor,
)
from tests.cpu.definitions import X86_HOSTS, guest, host, listed
from tests.cpu.maps import MAP


def baseline(*cpus: CPUDef, limits: Limits = NO_LIMITS) -> str:
    """Compute the baseline, and give vendor, model and features in one line."""
    result = cpu.baseline(MAP, Arch.X86_64, cpus, limits)
    return f"{result.vendor} {result.model} {listed(result)}".rstrip()


def test_result() -> None:
    """The only model keeps its name, and no other may take its place."""
    result = cpu.baseline(MAP, None, [host("Mid", "vmx svm"), host("Mid", "svm x2apic")])
    expected = """\
<cpu mode='custom' match='exact'>
  <model fallback='forbid'>Mid</model>
  <feature policy='require' name='svm'/>
</cpu>"""
    assert expected == format_cpu(result)
    assert result.match is Match.EXACT


def test_several_models() -> None:
    """What is left may be another model than any of the hosts', and may fall back further."""
    result = cpu.baseline(MAP, None, [host("New"), host("K", "x2apic")])
    assert (result.model, result.fallback) == ("plain", Fallback.ALLOW)
    assert listed(result) == "+sse +sse2 +x2apic"


@pytest.mark.parametrize(
    ("cpus", "expected"),
    [
        ([host("Old", vendor="Intel"), host("Old", vendor="Intel")], "Intel Old"),
        # one without a vendor, and none is put out
        ([host("Old", vendor="Intel"), host("Old")], "None Old"),
        ([host("Old"), host("Old", vendor="Intel")], "None Old"),
        # the vendor of the first host's model is not looked at, that of the others' is
        ([host("K"), host("Old", vendor="Intel")], "None Old"),
    ],
)
def test_vendors(cpus: list[CPUDef], expected: str) -> None:
    """A vendor is put out only if all say it, and filters models even if not."""
    assert expected == baseline(*cpus)


@pytest.mark.parametrize(
    ("cpus", "problem"),
    [
        ([host("Old", vendor="Intel"), host("plain", vendor="AMD")], "vendors do not match"),
        ([host("Old", vendor="Intel"), host("K")], "vendors do not match"),
        (
            [host("plain"), host("Old", vendor="AMD")],
            "vendor Intel of model Old differs from vendor AMD",
        ),
        ([guest("plain", "-fpu -tsc -mmx"), host("Old")], "CPUs are incompatible"),
    ],
)
def test_incompatible(cpus: list[CPUDef], problem: str) -> None:
    """Hosts that have no baseline are told why."""
    with pytest.raises(IncompatibleCPUs, match=problem):
        baseline(*cpus)


def test_unknown_names() -> None:
    """Names that the map lacks are errors of their own."""
    with pytest.raises(UnknownVendor, match="Cyrix"):
        baseline(host("Old", vendor="Cyrix"))
    with pytest.raises(UnknownVendor, match="Cyrix"):
        baseline(host("plain"), host("plain", vendor="Cyrix"))
    with pytest.raises(UnknownModel, match="bogus"):
        baseline(host("Old"), host("bogus"))
    with pytest.raises(UnknownFeature, match="bogus"):
        baseline(host("Old", "bogus"))


def test_alias() -> None:
    """A name that is not for guests is taken for what it stands for."""
    result = cpu.baseline(MAP, None, [host("New-v1", "vmx")])
    assert (result.model, listed(result), result.fallback) == ("New", "+vmx", Fallback.ALLOW)


def test_limits() -> None:
    """The hypervisor's models and features limit the result, and migration does."""
    cpus = [host("Mid", "vmx invtsc")]
    assert baseline(*cpus, limits=Limits(migratable=True)) == "None Mid +vmx"
    named = frozenset({"fpu", "tsc", "mmx", "vmx", "unknown"})
    assert baseline(*cpus, limits=Limits(features=named)).startswith("None Mid +vmx -sse")
    offered = Limits(models={"Mid-noTSX": ("avx2",)})
    assert baseline(*cpus, limits=offered).startswith("None Mid-noTSX +vmx +hle +rtm +invtsc -avx2")
    with pytest.raises(NoSuitableModel):
        baseline(*cpus, limits=Limits(models={}))


@given(st.lists(X86_HOSTS, min_size=1, max_size=4))
def test_baseline_is_in_each(cpus: list[CPUDef]) -> None:
    """The baseline is part of every host, and every host accepts it."""
    try:
        result = cpu.baseline(MAP, None, cpus)
    except (IncompatibleCPUs, NoSuitableModel):
        return
    has = cpu.features(MAP, Arch.X86_64, result)
    for one in cpus:
        assert has <= cpu.features(MAP, Arch.X86_64, one)
        accepted = cpu.compare(MAP, Arch.X86_64, one, result).result
        assert accepted in (CompareResult.IDENTICAL, CompareResult.SUPERSET)


@given(st.lists(X86_HOSTS, min_size=2, max_size=3))
def test_order_does_not_change_features(cpus: list[CPUDef]) -> None:
    """Which host comes first may change the model, never what the guest has."""
    found = set()
    for order in (cpus, cpus[::-1]):
        try:
            result = cpu.baseline(MAP, None, order)
        except IncompatibleCPUs:
            return
        found.add(cpu.features(MAP, Arch.X86_64, result))
    assert len(found) == 1


@given(st.lists(X86_HOSTS, min_size=2, max_size=4))
def test_hosts_that_are_alike(cpus: list[CPUDef]) -> None:
    """A hundred of each are what one of each is; how the first stands to its vendor aside."""
    many = [cpus[0], *(each._replace() for each in cpus[1:] * 100)]
    found = []
    for hosts in (cpus, many):
        try:
            found.append(format_cpu(cpu.baseline(MAP, None, hosts)))
        except (IncompatibleCPUs, NoSuitableModel) as exc:
            found.append(str(exc))
    assert found[0] == found[1]


def test_a_first_host_again() -> None:
    """The vendor of the first is not held against its model, that of one just like it is."""
    odd = host("Old", vendor="AMD")
    assert baseline(odd).startswith("AMD")
    with pytest.raises(IncompatibleCPUs, match="vendor Intel of model Old differs"):
        baseline(odd, odd)
