"""The processors of an x86 host: CPUID of each core, else KVM's view, else the kernel's flags.

The CPU is what libvirt's capabilities say, but for
* cores that differ: libvirt decodes whichever core it happens to run on, here the CPU has what all
  cores have, and the kinds of cores are told;
* MSRs that the processor does not announce, and VMX controls: see `guardd.probe.msrs`;
* the topology, which is not read.
As in libvirt the feature `hypervisor` is there on a host that is a guest itself.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from types import MappingProxyType

from guardd import cpu
from guardd.cpu import CPUMap
from guardd.cpu.definition import (
    TSC,
    Arch,
    CPUDef,
    CPUType,
    MaxPhysAddr,
    PhysAddrMode,
)
from guardd.cpu.x86.data import SIGNATURE, VENDOR, CPUData, Register
from guardd.cpu.x86.driver import DRIVER
from guardd.cpu.x86.map import X86Map
from guardd.errors import GuardError, NoSuitableModel, UnreadableHardware
from guardd.probe.cpuid import ReadLeaf, open_cpuid, read_leaves
from guardd.probe.cpuinfo import CPUInfo, number, read_cpuinfo
from guardd.probe.devices import online_cpus
from guardd.probe.flags import flags_data
from guardd.probe.kvm import CAP_TSC_DEADLINE_TIMER, KVM, open_kvm
from guardd.probe.msrs import ReadMSR, open_msr, wanted_msrs, with_msrs
from guardd.probe.reading import CoreKind, Hardware, Source, group_cores, said

KVM_DEVICE = Path("dev/kvm")

_ADDRESS_SIZES = re.compile(r"([0-9]{1,3}) bits physical")
_PHYS_BITS = Register("cpuid", 0x80000008, 0, "eax")
_CORE_TYPE = Register("cpuid", 0x1A, 0, "eax")
_CORE_TYPES = {0x20: "Atom", 0x40: "Core"}  # Intel SDM vol. 2, CPUID leaf 1AH

# What KVM has although its CPUID may not say so; source: QEMU, kvm_arch_get_supported_cpuid. The
# deadline timer is a capability of its own (KVM api.rst, KVM_GET_SUPPORTED_CPUID).
_BESIDE_CPUID = ("hypervisor", "arat")

_TSC_RATIO = tuple(Register("cpuid", 0x15, 0, name) for name in ("eax", "ebx", "ecx"))
_BASE_MHZ = Register("cpuid", 0x16, 0, "eax")


@dataclass(frozen=True, slots=True, kw_only=True)
class Devices:
    """How the devices are opened; each raises UnreadableHardware."""

    cpuid: Callable[[Path], AbstractContextManager[ReadLeaf]] = open_cpuid
    msr: Callable[[Path], AbstractContextManager[ReadMSR]] = open_msr
    kvm: Callable[[Path], AbstractContextManager[KVM]] = open_kvm


DEVICES = Devices()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one source said: data that hold for all cores, and the kinds of cores."""

    source: Source
    data: CPUData
    cores: tuple[CoreKind, ...] = ()


def read_host(cpu_map: CPUMap, arch: Arch, root: Path, devices: Devices = DEVICES) -> Hardware:
    """Read the host below *root*; what cannot be read is in the notes. Raises BrokenMap."""
    known: X86Map = cpu_map.part(DRIVER)
    notes: list[str] = []
    info = CPUInfo(MappingProxyType({}), MappingProxyType({}))
    try:
        info = read_cpuinfo(root)
    except UnreadableHardware as exc:
        notes.append(said(exc))
    reading = _read(known, root, info, devices, notes)
    microcode = number(info.first.get("microcode"))
    if reading is None:
        return Hardware(arch=arch, microcode=microcode, notes=tuple(notes))

    data = reading.data
    if reading.source is not Source.CPUINFO:
        data = _add_msrs(known, data, root, devices, reading.source, notes)
    hardware = Hardware(
        arch=arch,
        source=reading.source,
        data=data,
        microcode=microcode,
        phys_bits=_phys_bits(info.first, data),
        tsc=_read_tsc(known, data, root, devices, notes),
        cores=reading.cores,
    )
    try:
        decoded = _decode(cpu_map, hardware, data)
    except NoSuitableModel as exc:
        return replace(hardware, notes=(*notes, said(exc)))
    return replace(hardware, cpu=decoded, notes=tuple(notes))


def read_hypervisor(cpu_map: CPUMap, root: Path, devices: Devices = DEVICES) -> CPUDef:
    """Give what KVM can give a guest; raises UnreadableHardware, BrokenMap, NoSuitableModel.

    libvirt's host-model may have less: QEMU gives `host` no topoext, for one, though KVM can.
    """
    known: X86Map = cpu_map.part(DRIVER)
    with devices.kvm(root / KVM_DEVICE) as kvm:
        data = _supported(known, kvm)
        data = with_msrs(data, _kvm_msrs(kvm, wanted_msrs(known, data)))
    return cpu.decode(cpu_map, Arch.X86_64, CPUDef(type=CPUType.GUEST), data)


def _decode(cpu_map: CPUMap, hardware: Hardware, data: CPUData) -> CPUDef:
    bits = hardware.phys_bits
    address = None if bits is None else MaxPhysAddr(mode=PhysAddrMode.EMULATE, bits=bits)
    stub = CPUDef(
        type=CPUType.HOST,
        arch=hardware.arch,
        microcode=hardware.microcode,
        tsc=hardware.tsc,
        maxphysaddr=address,
    )
    return cpu.decode(cpu_map, hardware.arch, stub, data)


def _read(
    known: X86Map, root: Path, info: CPUInfo, devices: Devices, notes: list[str]
) -> Reading | None:
    """Ask the sources in turn; what kept one from answering goes to *notes*."""
    try:
        return _combined(known, Source.CPUID, _read_cores(root, devices, notes))
    except UnreadableHardware as exc:
        notes.append(said(exc))
    try:
        with devices.kvm(root / KVM_DEVICE) as kvm:
            return Reading(source=Source.KVM, data=_supported(known, kvm))
    except UnreadableHardware as exc:
        notes.append(said(exc))
    cores = {n: flags_data(known, lines) for n, lines in info.processors.items()}
    found = {n: data for n, data in cores.items() if data is not None}
    if not found:
        notes.append("/proc/cpuinfo names no features of an x86 processor")
        return None
    notes.append("the kernel's flags do not show every feature, and none of those in MSRs")
    return _combined(known, Source.CPUINFO, found)


def _read_cores(root: Path, devices: Devices, notes: list[str]) -> dict[int, CPUData]:
    cores = {}
    failure = None
    for number_ in online_cpus(root):
        try:
            with devices.cpuid(root / f"dev/cpu/{number_}/cpuid") as read:
                cores[number_] = read_leaves(read)
        except UnreadableHardware as exc:  # a CPU may go offline under our hands
            failure = failure or exc
    if not cores:
        raise failure or UnreadableHardware("no CPU is online")
    if failure is not None:
        notes.append(f"not every core could be read: {failure}")
    return cores


def _combined(known: X86Map, source: Source, cores: Mapping[int, CPUData]) -> Reading:
    """Make one reading of several cores, which may differ in what is a feature."""
    first = next(iter(cores.values()))
    own = {n: known.bits(_features_only(data)) for n, data in cores.items()}
    common = reduce(int.__and__, own.values())
    kinds = {n: (_kind(data), known.take(own[n] & ~common)) for n, data in cores.items()}
    mask = known.data(common).registers
    registers = {
        register: value & mask.get(register, 0) if register in known.positions else value
        for register, value in _features_only(first).registers.items()
    }
    registers |= {r: first.registers[r] for r in (SIGNATURE, *VENDOR) if r in first.registers}
    kept = {register: value for register, value in registers.items() if value}
    return Reading(source=source, data=CPUData(MappingProxyType(kept)), cores=group_cores(kinds))


def _features_only(data: CPUData) -> CPUData:
    identity = {SIGNATURE, *VENDOR}
    return CPUData({r: value for r, value in data.registers.items() if r not in identity})


def _kind(data: CPUData) -> str:
    signature = data.signature
    core_type = _CORE_TYPES.get(data.registers.get(_CORE_TYPE, 0) >> 24)
    name = f"family {signature.family} model {signature.model} stepping {signature.stepping}"
    return name if core_type is None else f"{name} ({core_type})"


def _supported(known: X86Map, kvm: KVM) -> CPUData:
    """Give KVM's CPUID with the features that QEMU knows KVM to have beside it."""
    data = kvm.supported_cpuid()
    names = [*_BESIDE_CPUID]
    if kvm.extension(CAP_TSC_DEADLINE_TIMER):
        names.append("tsc-deadline")
    registers = dict(data.registers)
    for register, value in known.data(known.union(names)).registers.items():
        registers[register] = registers.get(register, 0) | value
    return CPUData(MappingProxyType(registers))


def _add_msrs(
    known: X86Map, data: CPUData, root: Path, devices: Devices, source: Source, notes: list[str]
) -> CPUData:
    """Read MSRs of the first core, or KVM's where those cannot be read, as libvirt does."""
    wanted = wanted_msrs(known, data)
    if not wanted:
        return data
    values: dict[int, int] = {}
    if source is Source.CPUID:
        try:
            with devices.msr(root / "dev/cpu/0/msr") as read:
                values = {n: value for n in wanted if (value := read(n)) is not None}
            return with_msrs(data, values)
        except UnreadableHardware as exc:
            notes.append(said(exc))
    try:
        with devices.kvm(root / KVM_DEVICE) as kvm:
            return with_msrs(data, _kvm_msrs(kvm, wanted))
    except UnreadableHardware as exc:
        notes.append(f"features in MSRs are not known: {said(exc)}")
        return data


def _kvm_msrs(kvm: KVM, wanted: tuple[int, ...]) -> dict[int, int]:
    def values() -> Iterator[tuple[int, int]]:
        for index in wanted:
            with contextlib.suppress(UnreadableHardware):  # an old KVM has no feature MSRs
                value = kvm.msr(index)
                if value is not None:
                    yield index, value

    return dict(values())


def _phys_bits(lines: Mapping[str, str], data: CPUData) -> int | None:
    """Give the width of physical addresses; the kernel's word counts, as it does for libvirt.

    Memory encryption takes bits that CPUID still counts.
    """
    found = _ADDRESS_SIZES.match(lines.get("address sizes", ""))
    return (int(found[1]) if found else data.registers.get(_PHYS_BITS, 0) & 0xFF) or None


def _read_tsc(
    known: X86Map, data: CPUData, root: Path, devices: Devices, notes: list[str]
) -> TSC | None:
    """Give the frequency of a counter that never stops; others count for nothing in libvirt."""
    invariant = known.features.get("invtsc")
    if invariant is None or not known.bits(data) & invariant.bits:
        return None
    try:
        with devices.kvm(root / KVM_DEVICE) as kvm:
            return kvm.tsc()
    except GuardError as exc:
        notes.append(f"KVM does not tell the TSC's frequency: {said(exc)}")
    denominator, numerator, crystal = (data.registers.get(r, 0) for r in _TSC_RATIO)
    if denominator and numerator and crystal:
        return TSC(frequency=crystal * numerator // denominator)
    megahertz = data.registers.get(_BASE_MHZ, 0) & 0xFFFF
    if denominator and numerator and megahertz:
        # no crystal's frequency: Linux then takes the base frequency for the counter's (tsc.c)
        notes.append(f"the TSC's frequency is only known as some {megahertz} MHz")
        return TSC(frequency=megahertz * 1_000_000)
    return None
