"""An x86 host from recordings: sources in turn, cores that differ, MSRs, the TSC."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from guardd import cpu
from guardd.cpu import CPUMap
from guardd.cpu.definition import TSC, Arch, CPUType, FeaturePolicy, MaxPhysAddr, PhysAddrMode
from guardd.cpu.x86.data import CPUData, Register
from guardd.errors import UnreadableHardware
from guardd.facts.capabilities import parse_capabilities
from guardd.probe import cpu_map
from guardd.probe.cpuid import Leaf
from guardd.probe.hardware import Hardware, read_hardware, read_hypervisor_cpu
from guardd.probe.kvm import KVM
from guardd.probe.msrs import ReadMSR
from guardd.probe.reading import CoreKind, Source
from guardd.probe.x86 import Devices, read_host, read_hypervisor
from tests.cpu.maps import MAP
from tests.probe import recordings
from tests.probe.recordings import Leaves

TOP = 0x80000000
GENUINE_INTEL = (0x756E6547, 0x6C65746E, 0x49656E69)  # EBX, ECX, EDX


def processor(  # noqa: PLR0913 (each is a register)
    *,
    eax: int = 0x000906E0,
    ecx: int = 0,
    edx: int = 0x06800011,
    ebx7: int = 0,
    edx7: int = 0,
    power: int = 0,
    more: Leaves | None = None,
) -> Leaves:
    """Give an Intel processor of family 6 with what the tests' map calls features."""
    return {
        (0, 0): Leaf(0x1A, *GENUINE_INTEL),
        (1, 0): Leaf(eax, 0, ecx, edx),
        (7, 0): Leaf(0, ebx7, 0, edx7),
        (TOP, 0): Leaf(TOP + 8, 0, 0, 0),
        (TOP + 7, 0): Leaf(0, 0, 0, power),
        (TOP + 8, 0): Leaf(0x302E, 0, 0, 0),
        **(more or {}),
    }


class FakeKVM(KVM):
    """A KVM that says what a test wants."""

    def __init__(
        self,
        data: CPUData | None = None,
        *,
        msrs: Mapping[int, int] | None = None,
        tsc: TSC | None = None,
        extensions: Mapping[int, int] | None = None,
    ) -> None:
        super().__init__(-1, lambda _descriptor, _request, _argument: 12)
        self._data = data
        self._msrs = msrs
        self._tsc = tsc
        self._extensions = extensions or {}

    def extension(self, number: int) -> int:
        return self._extensions.get(number, 0)

    def supported_cpuid(self) -> CPUData:
        if self._data is None:
            raise UnreadableHardware("KVM does not give the CPUID it supports")
        return self._data

    def msr(self, index: int) -> int | None:
        if self._msrs is None:
            raise UnreadableHardware("KVM does not give MSRs")
        return self._msrs.get(index)

    def tsc(self) -> TSC:
        if self._tsc is None:
            raise UnreadableHardware("KVM does not give the TSC's frequency")
        return self._tsc


def forbidden(path: Path) -> AbstractContextManager[Any]:
    """Open nothing."""
    raise UnreadableHardware(f"cannot read {path.name}: Permission denied", hint="be root")


def open_always(value: object) -> Callable[[Path], AbstractContextManager[Any]]:
    """Open *value*, whatever the path."""

    @contextmanager
    def opened(_path: Path) -> Iterator[object]:
        yield value

    return opened


def devices(
    *cores: Leaves, kvm: KVM | None = None, msr: ReadMSR | None = None, **by_number: Leaves
) -> Devices:
    """Give the devices of a host with *cores*; none of them: /dev/cpu cannot be read."""
    numbered = dict(enumerate(cores)) | {int(n.strip("cpu")): c for n, c in by_number.items()}
    return Devices(
        cpuid=recordings.opener(numbered) if numbered else forbidden,
        kvm=forbidden if kvm is None else open_always(kvm),
        msr=forbidden if msr is None else open_always(msr),
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A host's tree with one CPU online, and a /proc/cpuinfo."""
    write(tmp_path, "0", "processor\t: 0\nmicrocode\t: 0xf4\n")
    return tmp_path


def write(root: Path, online: str, cpuinfo: str) -> None:
    """Write the files that a host has beside its devices."""
    for name, text in (("sys/devices/system/cpu/online", online), ("proc/cpuinfo", cpuinfo)):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


def read(root: Path, given: Devices, known: CPUMap = MAP) -> Hardware:
    """Read the host below *root*."""
    return read_host(known, Arch.X86_64, root, given)


def features(hardware: Hardware) -> set[str]:
    """Give all features of the CPU that was read, its model's included."""
    assert hardware.cpu is not None
    return set(cpu.features(MAP, Arch.X86_64, hardware.cpu))


def test_host(root: Path) -> None:
    """All that a host's definition has."""
    write(root, "0", "processor : 0\nmicrocode : 0xf4\naddress sizes : 43 bits physical, 48 bits")
    hardware = read(root, devices(processor(power=0x100), kvm=FakeKVM(tsc=TSC(frequency=2000))))

    assert (Source.CPUID, 0xF4, 43, TSC(frequency=2000)) == (
        hardware.source,
        hardware.microcode,
        hardware.phys_bits,
        hardware.tsc,
    )
    assert hardware.cpu is not None
    assert (CPUType.HOST, Arch.X86_64, "Old", "Intel", 0xF4) == (
        hardware.cpu.type,
        hardware.cpu.arch,
        hardware.cpu.model,
        hardware.cpu.vendor,
        hardware.cpu.microcode,
    )
    assert MaxPhysAddr(mode=PhysAddrMode.EMULATE, bits=43) == hardware.cpu.maxphysaddr
    assert {"sse2": None, "invtsc": None} == hardware.cpu.features
    assert () == hardware.notes


def test_phys_bits_of_cpuid(root: Path) -> None:
    """Where the kernel does not say, the processor does."""
    assert 0x2E == read(root, devices(processor())).phys_bits


def test_one_kind_of_cores(root: Path) -> None:
    """APIC numbers differ between any two cores and make no kinds."""
    write(root, "0-1", "")
    first, second = (processor(more={(0xB, 0): Leaf(1, 1, 0x100, n)}) for n in (0, 1))

    assert () == read(root, devices(first, second)).cores


def test_hybrid(root: Path) -> None:
    """The CPU has what all cores have; what some have more is told core by core."""
    write(root, "0-2,5", "")
    big = processor(ebx7=0x20, more={(0x1A, 0): Leaf(0x40000001, 0, 0, 0)})
    small = processor(more={(0x1A, 0): Leaf(0x20000001, 0, 0, 0)})
    hardware = read(root, devices(big, big, small, cpu5=small))

    assert "avx2" not in features(hardware)
    name = "family 6 model 158 stepping 0"
    assert (
        CoreKind(cpus=(0, 1), name=f"{name} (Core)", features=("avx2",)),
        CoreKind(cpus=(2, 5), name=f"{name} (Atom)"),
    ) == hardware.cores


def test_each_core_has_something(root: Path) -> None:
    """What no two cores share is in neither, whichever libvirt would have run on."""
    write(root, "0-1", "")
    hardware = read(root, devices(processor(ebx7=0x20), processor(ecx=0x200000)))

    assert not features(hardware) & {"avx2", "x2apic"}
    assert [("avx2",), ("x2apic",)] == [kind.features for kind in hardware.cores]


def test_core_that_cannot_be_read(root: Path) -> None:
    """One that went offline is left out, and said."""
    write(root, "0-1", "")
    good = devices(processor())

    def opened(path: Path) -> AbstractContextManager[Any]:
        return good.cpuid(path) if path.parent.name == "0" else forbidden(path)

    hardware = read(root, replace(good, cpuid=opened))

    assert Source.CPUID == hardware.source
    assert ("not every core could be read: cannot read cpuid: Permission denied",) == hardware.notes


def test_kvm_where_cpuid_is_forbidden(root: Path) -> None:
    """KVM's view is named as the source, and why."""
    supported = CPUData({Register("cpuid", 1, 0, "edx"): 0x06800011})
    hardware = read(root, devices(kvm=FakeKVM(supported)))

    assert Source.KVM == hardware.source
    assert ("cannot read cpuid: Permission denied (be root)",) == hardware.notes
    assert {"fpu", "tsc", "mmx", "sse", "sse2"} == features(hardware)


def test_flags_as_a_last_resort(root: Path) -> None:
    """The kernel's names, with a warning of what they leave out."""
    write(root, "0", "processor : 0\nvendor_id : GenuineIntel\nflags : fpu tsc mmx sse nonstop_tsc")
    hardware = read(root, devices())

    assert (Source.CPUINFO, "Old") == (hardware.source, hardware.cpu and hardware.cpu.model)
    assert "invtsc" in features(hardware)
    assert "the kernel's flags do not show every feature, and none of those in MSRs" in (
        hardware.notes
    )


def test_nothing_can_be_read(tmp_path: Path) -> None:
    """An empty tree: no CPU, and a note on each source."""
    hardware = read(tmp_path, devices())

    assert (None, None, None) == (hardware.cpu, hardware.source, hardware.data)
    assert [
        f"cannot read {tmp_path}/proc/cpuinfo: No such file or directory",
        f"cannot read {tmp_path}/sys/devices/system/cpu/online: No such file or directory",
        "cannot read kvm: Permission denied (be root)",
        "/proc/cpuinfo names no features of an x86 processor",
    ] == list(hardware.notes)


def test_no_model(root: Path) -> None:
    """A processor that is no model of the map: data are there, a CPU is not."""
    hardware = read(root, devices(processor(edx=0)))

    assert (None, Source.CPUID) == (hardware.cpu, hardware.source)
    assert isinstance(hardware.data, CPUData)
    assert ("Cannot find suitable CPU model for given data",) == hardware.notes


@pytest.mark.parametrize(
    ("more", "tsc", "note"),
    [
        ({}, None, None),
        ({(0x15, 0): Leaf(2, 166, 24_000_000, 0)}, TSC(frequency=1_992_000_000), None),
        (
            {(0x15, 0): Leaf(2, 166, 0, 0), (0x16, 0): Leaf(1992, 0, 0, 0)},
            TSC(frequency=1_992_000_000),
            "the TSC's frequency is only known as some 1992 MHz",
        ),
        ({(0x15, 0): Leaf(0, 0, 24_000_000, 0), (0x16, 0): Leaf(1992, 0, 0, 0)}, None, None),
    ],
)
def test_tsc_without_kvm(root: Path, more: Leaves, tsc: TSC | None, note: str | None) -> None:
    """From CPUID: the crystal's frequency and the ratio, or the base frequency (Intel SDM 19.7)."""
    hardware = read(root, devices(processor(power=0x100, more=more)))

    assert tsc == hardware.tsc
    assert note is None or note in hardware.notes


def test_tsc_that_may_stop(root: Path) -> None:
    """libvirt gives no frequency of a counter that is not invariant, and KVM is not asked."""
    hardware = read(root, devices(processor(), kvm=FakeKVM(tsc=TSC(frequency=1))))

    assert (None, ()) == (hardware.tsc, hardware.notes)


def test_i686(root: Path) -> None:
    """A 32-bit host has the same driver, and its own arch."""
    hardware = read_host(MAP, Arch.I686, root, devices(processor()))

    assert (Arch.I686, Arch.I686) == (hardware.arch, hardware.cpu and hardware.cpu.arch)


def installed() -> CPUMap:
    """Give the CPU map of the libvirt that is installed here."""
    if not (cpu_map.DIRECTORY / "index.xml").exists():
        pytest.skip("libvirt's CPU map is not installed")
    return cpu_map.read_cpu_map()


PLAIN = 0x078BFBFF  # what every model of libvirt's with SSE2 has in leaf 1
ARCH_CAPABILITIES = 1 << 29


def test_msr(root: Path) -> None:
    """Read where CPUID announces it: libvirt 9.0.0's rule, and 11.3.0's for what is there."""
    known = installed()
    announced, silent = (processor(edx=PLAIN, edx7=bits) for bits in (ARCH_CAPABILITIES, 0))
    values = {0x10A: 1 << 3 | 1}
    with_it = read(root, devices(announced, msr=values.get), known)
    without = read(root, devices(silent, msr=values.get), known)

    assert with_it.cpu is not None
    assert without.cpu is not None
    assert {"rdctl-no", "skip-l1dfl-vmentry"} <= with_it.cpu.features.keys()
    assert "rdctl-no" not in without.cpu.features


def test_msr_of_kvm(root: Path) -> None:
    """Where the module is not loaded, as libvirt does; without KVM it is said what is missing."""
    known = installed()
    announced = processor(edx=PLAIN, edx7=ARCH_CAPABILITIES)
    by_kvm = read(root, devices(announced, kvm=FakeKVM(msrs={0x10A: 1})), known)
    by_none = read(root, devices(announced), known)

    assert by_kvm.cpu is not None
    assert "rdctl-no" in by_kvm.cpu.features
    assert ("cannot read msr: Permission denied (be root)",) == by_kvm.notes
    assert by_none.notes[-1].startswith("features in MSRs are not known: ")


def test_msr_that_only_kvm_has(root: Path) -> None:
    """KVM emulates MSRs that this processor lacks; libvirt 11.3.0 calls them the host's."""
    emulating = FakeKVM(msrs={0x10A: 1})
    hardware = read(root, devices(processor(edx=PLAIN), kvm=emulating), installed())

    assert hardware.cpu is not None
    assert "rdctl-no" not in hardware.cpu.features
    assert () == hardware.notes


def test_hypervisor() -> None:
    """KVM's CPUID as a guest's definition, with what KVM has beside it."""
    supported = CPUData(
        {
            Register("cpuid", 0, 0, "ebx"): GENUINE_INTEL[0],
            Register("cpuid", 0, 0, "ecx"): GENUINE_INTEL[1],
            Register("cpuid", 0, 0, "edx"): GENUINE_INTEL[2],
            Register("cpuid", 1, 0, "edx"): 0x02800011,
            Register("cpuid", 7, 0, "ebx"): 0x20,
        }
    )
    given = read_hypervisor(MAP, Path("/"), devices(kvm=FakeKVM(supported)))

    assert (CPUType.GUEST, "Old", "Intel") == (given.type, given.model, given.vendor)
    assert {"avx2": FeaturePolicy.REQUIRE} == given.features


def test_hypervisor_beside_cpuid() -> None:
    """The deadline timer is a capability of its own; guests always see a hypervisor."""
    supported = CPUData({Register("cpuid", 1, 0, "edx"): PLAIN})
    kvm = FakeKVM(supported, extensions={72: 1})
    known = installed()
    given = read_hypervisor(known, Path("/"), devices(kvm=kvm))
    has = cpu.features(known, Arch.X86_64, given)

    assert {"hypervisor", "arat", "tsc-deadline"} <= has


def test_hypervisor_that_is_forbidden() -> None:
    """An error, not an empty CPU."""
    with pytest.raises(UnreadableHardware) as raised:
        read_hypervisor(MAP, Path("/"), devices())

    assert "be root" == raised.value.hint


def test_recorded_flags_and_cpuid_agree(root: Path) -> None:
    """On the recorded machine the kernel's names say the same as the registers."""
    known = installed()
    recorded = recordings.load("amd-epyc-genoa-guest")
    text = (recordings.DATA / "amd-epyc-genoa-guest.cpuinfo").read_text()
    write(root, "0-1", text)
    by_cpuid = read(root, devices(recorded, recorded), known)
    by_flags = read(root, devices(), known)

    assert by_cpuid.cpu is not None
    assert by_cpuid.cpu == by_flags.cpu
    assert (Source.CPUID, Source.CPUINFO) == (by_cpuid.source, by_flags.source)
    # it is a guest itself, and as in libvirt that counts as a feature of the host
    assert "hypervisor" in by_cpuid.cpu.features


def capabilities() -> str:
    """Give what libvirt here says of its host."""
    try:
        done = subprocess.run(
            ["virsh", "-c", "qemu:///system", "capabilities"],
            capture_output=True,
            check=True,
            text=True,
            timeout=20,
        )
    except (OSError, subprocess.SubprocessError) as exc:
        pytest.skip(f"no libvirt answers here: {exc}")
    return done.stdout


def without_controls(names: Iterable[str]) -> list[str]:
    """Leave VMX controls out, which libvirt 11.3.0 reads in a form of no meaning."""
    return [name for name in names if not name.startswith("vmx-")]


def test_this_machine_as_libvirt_sees_it() -> None:
    """Model, vendor, each feature, microcode, signature, TSC, addresses; not the topology."""
    known = installed()
    expected = parse_capabilities(capabilities())
    hardware = read_hardware(known)
    if expected.arch is not Arch.X86_64 or hardware.source is not Source.CPUID:
        pytest.skip(f"not an x86 machine whose CPUID can be read: {hardware.notes}")
    assert expected.host_cpu is not None
    assert hardware.cpu is not None
    if hardware.cores:
        pytest.skip("cores differ here: libvirt's word depends on where it ran")

    # what `guardd.probe.msrs` says of libvirt 11.3.0
    hidden = cpu.hidden_features(known, expected.arch, expected.host_cpu)
    listed = [name for name in expected.host_cpu.features if name not in hidden]
    assert without_controls(listed) == without_controls(hardware.cpu.features)
    named = expected.host_cpu._replace(features={}, topology=None)
    assert named == hardware.cpu._replace(features={})


def test_this_machine_s_kvm() -> None:
    """KVM's word can be had, and what it gives is a CPU of this host's vendor."""
    known = installed()
    if not Path("/dev/kvm").exists():
        pytest.skip("there is no /dev/kvm")
    try:
        given = read_hypervisor_cpu(known)
    except UnreadableHardware as exc:
        pytest.skip(f"KVM cannot be asked: {exc}")
    hardware = read_hardware(known)

    assert CPUType.GUEST == given.type
    assert given.vendor == (hardware.cpu and hardware.cpu.vendor)
    assert "hypervisor" in cpu.features(known, Arch.X86_64, given)
