"""The processors of an aarch64 host: MIDR_EL1 of each core, and the hardware capabilities.

The CPU is what libvirt's capabilities say of the first core; libvirt takes the one it runs on.
The other ID registers can only be read by instructions, and are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from guardd.cpu import CPUMap
from guardd.cpu.arm.decode import HWCAPS, get_host
from guardd.cpu.arm.driver import DRIVER
from guardd.cpu.arm.host import ArmHost
from guardd.cpu.arm.midr import MIDR
from guardd.cpu.definition import Arch
from guardd.errors import NoSuitableModel, UnknownVendor, UnreadableHardware
from guardd.probe.auxv import AT_HWCAP, AT_HWCAP2, AT_PAGESZ, read_auxv
from guardd.probe.cpuinfo import number
from guardd.probe.devices import online_cpus, read_text
from guardd.probe.reading import Hardware, Source, group_cores, said

_MIDR_FILE = "sys/devices/system/cpu/cpu{}/regs/identification/midr_el1"

# "0x00000000410fd0c1\n"
_MAX_MIDR = 64
_MIDR_BITS = 32

_HWCAP_BITS = 32  # of AT_HWCAP, those that libvirt looks at; it ignores AT_HWCAP2
_CPUID = "cpuid"

# bits 32 and up of AT_HWCAP, and AT_HWCAP2, as /proc/cpuinfo names them (Linux,
# arch/arm64/kernel/cpuinfo.c, hwcap_str)
_HIGH_NAMES = (
    "gcs cmpbr fprcvt f8mm8 f8mm4 svef16mm sveeltperm sveaes2 svebfscale sve2p2 sme2p2"
    " smesbitperm smeaes smesfexpa smestmop smesmop4"
)
_SECOND_NAMES = (
    "dcpodp sve2 sveaes svepmull svebitperm svesha3 svesm4 flagm2 frint svei8mm svef32mm"
    " svef64mm svebf16 i8mm bf16 dgh rng bti mte ecv afp rpres mte3 sme smei16i64 smef64f64"
    " smei8i32 smef16f32 smeb16f32 smef32f32 smefa64 wfxt ebf16 sveebf16 cssc rprfm sve2p1"
    " sme2 sme2p1 smei16i32 smebi32i32 smeb16b16 smef16f16 mops hbc sveb16b16 lrcpc3 lse128"
    " fpmr lut faminmax f8cvt f8fma f8dp4 f8dp2 f8e4m3 f8e5m2 smelutv2 smef8f16 smef8f32"
    " smesf8fma smesf8dp4 smesf8dp2 poe"
)
_HWCAPS = (*HWCAPS, *_HIGH_NAMES.split())
_HWCAPS2 = tuple(_SECOND_NAMES.split())


def read_host(cpu_map: CPUMap, arch: Arch, root: Path) -> Hardware:
    """Read the host below *root*; what cannot be read is in the notes. Raises BrokenMap."""
    notes: list[str] = []
    try:
        cores = _read_cores(root, notes)
        auxv = read_auxv(root)
    except UnreadableHardware as exc:
        return Hardware(arch=arch, notes=(*notes, said(exc)))
    hwcap, hwcap2 = auxv.get(AT_HWCAP, 0), auxv.get(AT_HWCAP2, 0)
    hardware = Hardware(
        arch=arch,
        source=Source.MIDR,
        cores=group_cores({n: (_name(midr), ()) for n, midr in cores.items()}),
        arm=ArmHost(
            cores=frozenset(cores.values()),
            features=frozenset(_features(hwcap, hwcap2)),
            registers=MappingProxyType({}),
            page_size=auxv.get(AT_PAGESZ, 0),
        ),
    )
    first = next(iter(cores.values()))
    low = hwcap & (1 << _HWCAP_BITS) - 1
    if not low >> HWCAPS.index(_CPUID) & 1:
        notes.append("CPUID registers unavailable")  # libvirt then names no model either
        return replace(hardware, notes=tuple(notes))
    try:
        cpu = get_host(cpu_map.part(DRIVER), first, low)
    except (NoSuitableModel, UnknownVendor) as exc:
        return replace(hardware, notes=(*notes, said(exc)))
    return replace(hardware, cpu=cpu, notes=tuple(notes))


def _read_cores(root: Path, notes: list[str]) -> dict[int, MIDR]:
    cores = {}
    failure = None
    for cpu in online_cpus(root):
        try:
            cores[cpu] = _read_midr(root / _MIDR_FILE.format(cpu))
        except UnreadableHardware as exc:
            failure = failure or exc
    if not cores:
        raise failure or UnreadableHardware("no CPU is online")
    if failure is not None:
        notes.append(f"not every core could be read: {failure}")
    return cores


def _read_midr(path: Path) -> MIDR:
    text = read_text(path, _MAX_MIDR).strip()
    register = number(text)
    if register is None or register < 0 or register >> _MIDR_BITS:
        raise UnreadableHardware(f"{path} has {text!r}, which is no MIDR_EL1")
    return MIDR.of(register)


def _features(hwcap: int, hwcap2: int) -> Iterator[str]:
    yield from _named(hwcap, _HWCAPS, "hwcap")
    yield from _named(hwcap2, _HWCAPS2, "hwcap2")


def _named(bits: int, names: Sequence[str], vector: str) -> Iterator[str]:
    """Name the *bits*; one that is newer than this program is named by its number."""
    for bit in range(bits.bit_length()):
        if bits >> bit & 1:
            yield names[bit] if bit < len(names) else f"{vector}-bit{bit}"


def _name(midr: MIDR) -> str:
    return (
        f"implementer 0x{midr.implementer:02x} part 0x{midr.part:03x}"
        f" variant {midr.variant} revision {midr.revision}"
    )
