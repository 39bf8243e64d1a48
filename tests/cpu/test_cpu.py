"""The public functions: what is asked before a driver is, and what a driver lacks."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from guardd import cpu
from guardd.cpu.definition import Arch, CPUDef, CPUType, Fallback, FeaturePolicy, Mode
from guardd.cpu.driver import CompareResult, Limits, LiveData
from guardd.cpu.x86.data import CPUData
from guardd.errors import (
    InvalidCPU,
    InvalidCPUData,
    MalformedXML,
    NoModel,
    UnsupportedArch,
    UnsupportedModel,
)
from tests.cpu.definitions import guest, host, listed
from tests.cpu.maps import MAP

ANY = CPUDef(model="any")


def test_no_driver() -> None:
    """An architecture without a driver is said to be unsupported, by its name."""
    with pytest.raises(UnsupportedArch, match="'sparc64' architecture is not supported"):
        cpu.compare(MAP, Arch.SPARC64, ANY, ANY)


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (lambda: cpu.decode(MAP, Arch.AARCH64, CPUDef(), 0), "cannot decode CPU data for aarch64"),
        (lambda: cpu.encode(MAP, Arch.PPC64, ANY), "cannot encode CPU data for ppc64"),
        (lambda: cpu.baseline(MAP, Arch.S390X, [ANY]), "cannot compute baseline CPU of s390x"),
        (lambda: cpu.baseline(MAP, None, [ANY]), "'none' architecture"),
        (lambda: cpu.has_feature(MAP, Arch.PPC64, ANY, "vsx"), "cannot check guest CPU feature"),
        (lambda: cpu.data_has_feature(MAP, Arch.PPC64, 0, "vsx"), "cannot check guest CPU feature"),
        (lambda: cpu.format_cpu_data(Arch.PPC64, 0), "cannot format ppc64 CPU data"),
        (lambda: cpu.parse_cpu_data("<cpudata arch='s390'/>"), "cannot parse s390 CPU data"),
        (lambda: cpu.translate(MAP, Arch.PPC64, ANY, {}), "cannot translate CPU model any to"),
    ],
)
def test_driver_lacks_it(call: Callable[[], object], problem: str) -> None:
    """An operation that a driver lacks is told apart from one that failed."""
    with pytest.raises(UnsupportedArch, match=problem):
        call()


def test_driver_has_nothing_to_do() -> None:
    """Where libvirt takes a missing operation for success, so do we."""
    definition = guest("POWER9", "+b +a")
    assert cpu.update_live(MAP, Arch.PPC64, definition, LiveData(enabled=0, disabled=0)) is None
    assert listed(cpu.expand(MAP, Arch.PPC64, definition)) == "+a +b"
    assert cpu.copy_migratable(MAP, Arch.PPC64, definition) == definition
    cpu.validate_features(MAP, Arch.PPC64, definition)
    assert cpu.vendor_for_model(MAP, Arch.RISCV64, "rv64") is None
    assert cpu.features(MAP, Arch.PPC64, definition) == frozenset()
    assert cpu.non_migratable(MAP, Arch.PPC64) == frozenset()
    assert cpu.compat_check(MAP, Arch.PPC64, "POWER9")


def test_families() -> None:
    """Hosts of one driver's architectures can be compared, others not."""
    assert cpu.same_family(Arch.I686, Arch.X86_64)
    assert cpu.same_family(Arch.PPC64, Arch.PPC64LE)
    assert cpu.same_family(Arch.SPARC, Arch.SPARC)
    assert not cpu.same_family(Arch.PPC, Arch.PPC64)
    assert cpu.has_features(Arch.X86_64)
    assert not cpu.has_features(Arch.PPC64)


@pytest.mark.parametrize("mode", [None, Mode.HOST_MODEL])
def test_decode_wants_a_custom_stub(mode: Mode | None) -> None:
    """Anything but a custom definition is refused by libvirt too."""
    with pytest.raises(InvalidCPU, match="invalid CPU definition stub"):
        cpu.decode(MAP, Arch.X86_64, CPUDef(mode=mode), CPUData())


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("<cpudata/>", "missing CPU data architecture"),
        ("<cpudata arch='x86_64'/>", "CPU driver 'x86_64' does not exist"),
        ("<cpudata arch='x86'/>", "no x86 CPU data found"),
    ],
)
def test_parse_cpu_data(text: str, problem: str) -> None:
    """CPU data names its driver, not an architecture."""
    with pytest.raises(InvalidCPUData, match=problem):
        cpu.parse_cpu_data(text)


def test_parse_cpu_data_of_no_xml() -> None:
    """Text that is no XML is another mistake than wrong data."""
    with pytest.raises(MalformedXML):
        cpu.parse_cpu_data("<cpudata")


def test_baseline_wants_models() -> None:
    """The checks that libvirt makes before it asks a driver, in its order."""
    with pytest.raises(InvalidCPU, match="no CPUs given"):
        cpu.baseline(MAP, Arch.X86_64, [])
    with pytest.raises(NoModel, match="index 1"):
        cpu.baseline(MAP, Arch.SPARC64, [ANY, CPUDef()])


def test_baseline_takes_the_first_arch() -> None:
    """Without an architecture that of the first host picks the driver."""
    assert cpu.baseline(MAP, None, [host("Old")]).model == "Old"


@pytest.mark.parametrize("mode", [Mode.HOST_PASSTHROUGH, Mode.MAXIMUM])
def test_update_leaves_open_modes(mode: Mode) -> None:
    """What QEMU has, it has: nothing to write out, and no host needed."""
    definition = CPUDef(mode=mode, features={"vmx": FeaturePolicy.OPTIONAL})
    assert definition == cpu.update(MAP, Arch.X86_64, definition, None)


@pytest.mark.parametrize(
    ("definition", "models"),
    [
        (guest("Old"), None),
        (guest("Old"), {"Old": ()}),
        (guest("Old", mode=Mode.HOST_MODEL), {}),
        (guest("Old", mode=Mode.MAXIMUM), {}),
    ],
)
def test_translate_not_needed(definition: CPUDef, models: dict[str, tuple[str, ...]]) -> None:
    """A model that the hypervisor takes stays, and so does what has no model of its own."""
    assert definition == cpu.translate(MAP, Arch.X86_64, definition, models)


def test_translate_forbidden() -> None:
    """fallback='forbid' means that no other model will do."""
    definition = CPUDef(model="Old", fallback=Fallback.FORBID)
    with pytest.raises(UnsupportedModel, match="Old is not supported by hypervisor"):
        cpu.translate(MAP, Arch.X86_64, definition, {"New": ()})


def test_copy_migratable() -> None:
    """Only listed features go: the model may still have one that does not migrate."""
    definition = host("Old", "xsaves vmx invtsc")
    assert listed(cpu.copy_migratable(MAP, Arch.X86_64, definition)) == "vmx"
    assert cpu.non_migratable(MAP, Arch.X86_64) == {"xsaves", "invtsc"}


def test_unchecked_as_libvirt() -> None:
    """Beside libvirt's answer ours can be put: it has no word for "not checked"."""
    assert CompareResult.UNCHECKED.as_libvirt is CompareResult.IDENTICAL
    assert CompareResult.SUPERSET.as_libvirt is CompareResult.SUPERSET


def test_decode_limits_by_models() -> None:
    """PowerPC never falls back to another model."""
    stub = CPUDef(type=CPUType.HOST)
    with pytest.raises(UnsupportedModel, match="POWER9 is not supported"):
        cpu.decode(MAP, Arch.PPC64, stub, 0x004E1202, Limits(models={"POWER8": ()}))
