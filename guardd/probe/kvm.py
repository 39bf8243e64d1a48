"""KVM's own word, by ioctl on /dev/kvm: what it can give a guest, feature MSRs, the TSC.

Numbers and structures: include/uapi/linux/kvm.h and arch/x86/include/uapi/asm/kvm.h of Linux,
which are ABI.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from guardd.cpu.definition import TSC
from guardd.cpu.x86.data import CPUData, Register
from guardd.errors import UnreadableHardware
from guardd.probe.devices import Hint, opened

_GET_API_VERSION = 0xAE00
_CREATE_VM = 0xAE01
_CHECK_EXTENSION = 0xAE03
_CREATE_VCPU = 0xAE41
_GET_SUPPORTED_CPUID = 0xC008AE05
_GET_MSRS = 0xC008AE88
_GET_TSC_KHZ = 0xAEA3

_HINT = Hint(
    "load KVM's module; in the firmware, virtualization may be off",
    "root and the group kvm may use it",
)

API_VERSION = 12  # the only one there ever was outside of development kernels
CAP_TSC_CONTROL = 60
CAP_TSC_DEADLINE_TIMER = 72

_HEAD = struct.Struct("=II")  # kvm_cpuid2, kvm_msrs: number of entries, padding
_CPUID_ENTRY = struct.Struct("=7I12x")  # function, index, flags, eax, ebx, ecx, edx, padding
_MSR_ENTRY = struct.Struct("=IIQ")  # index, reserved, data

# Linux has KVM_MAX_CPUID_ENTRIES 256, 80 in old versions; it says E2BIG where a buffer is too small
_CPUID_ENTRIES = (256, 1024, 4096)

# as fcntl.ioctl with a buffer that is written to, or a number
Ioctl = Callable[[int, int, bytearray | int], int]


def _system_ioctl(descriptor: int, request: int, argument: bytearray | int) -> int:
    return fcntl.ioctl(descriptor, request, argument)


class KVM:
    """An open /dev/kvm; every method raises UnreadableHardware where KVM refuses."""

    def __init__(self, descriptor: int, ioctl: Ioctl = _system_ioctl) -> None:
        self._descriptor = descriptor
        self._ioctl = ioctl
        version = self._ask("its API version", _GET_API_VERSION, 0)
        if version != API_VERSION:
            raise UnreadableHardware(f"KVM's API has version {version}, not {API_VERSION}")

    def extension(self, number: int) -> int:
        """Give what KVM says of a capability; 0: it lacks it."""
        return self._ask(f"capability {number}", _CHECK_EXTENSION, number)

    def supported_cpuid(self) -> CPUData:
        """Give the CPUID that KVM and this host's processor can give a guest."""
        for capacity in _CPUID_ENTRIES:
            buffer = bytearray(_HEAD.size + capacity * _CPUID_ENTRY.size)
            _HEAD.pack_into(buffer, 0, capacity, 0)
            try:
                self._ioctl(self._descriptor, _GET_SUPPORTED_CPUID, buffer)
            except OSError as exc:
                if exc.errno == errno.E2BIG:
                    continue
                raise _refused("the CPUID it supports", exc) from exc
            return _cpuid(buffer, capacity)
        raise UnreadableHardware(f"KVM supports more than {_CPUID_ENTRIES[-1]} leaves of CPUID")

    def msr(self, index: int) -> int | None:
        """Give a feature MSR; None: KVM does not know it as one."""
        buffer = bytearray(_HEAD.size + _MSR_ENTRY.size)
        _HEAD.pack_into(buffer, 0, 1, 0)
        _MSR_ENTRY.pack_into(buffer, _HEAD.size, index, 0, 0)
        try:
            count = self._ioctl(self._descriptor, _GET_MSRS, buffer)
        except OSError as exc:
            raise _refused(f"MSR 0x{index:x}", exc) from exc
        value: int = _MSR_ENTRY.unpack_from(buffer, _HEAD.size)[2]
        return value if count == 1 else None

    def tsc(self) -> TSC:
        """Give the time stamp counter of a throw-away guest, which ticks as the host's does."""
        scaling = self.extension(CAP_TSC_CONTROL) > 0
        with (
            self._made("a virtual machine", self._descriptor, _CREATE_VM) as machine,
            self._made("a virtual CPU", machine, _CREATE_VCPU) as cpu,
        ):
            try:
                khz = self._ioctl(cpu, _GET_TSC_KHZ, 0)
            except OSError as exc:
                raise _refused("the TSC's frequency", exc) from exc
        if khz <= 0:
            raise UnreadableHardware(f"KVM says that the TSC has {khz} kHz")
        return TSC(frequency=khz * 1000, scaling=scaling)

    def _ask(self, what: str, request: int, argument: int) -> int:
        try:
            return self._ioctl(self._descriptor, request, argument)
        except OSError as exc:
            raise _refused(what, exc) from exc

    @contextmanager
    def _made(self, what: str, descriptor: int, request: int) -> Iterator[int]:
        try:
            made = self._ioctl(descriptor, request, 0)
        except OSError as exc:
            raise _refused(what, exc) from exc
        try:
            yield made
        finally:
            os.close(made)


@contextmanager
def open_kvm(path: Path) -> Iterator[KVM]:
    """Open KVM's device; raises UnreadableHardware."""
    with opened(path, os.O_RDWR, _HINT) as descriptor:
        yield KVM(descriptor)


def _cpuid(buffer: bytearray, capacity: int) -> CPUData:
    count = _HEAD.unpack_from(buffer)[0]
    if count > capacity:
        raise UnreadableHardware(f"KVM gives {count} leaves of CPUID where {capacity} fit")
    registers: dict[Register, int] = {}
    for number in range(count):
        at = _HEAD.size + number * _CPUID_ENTRY.size
        function, index, _flags, *words = _CPUID_ENTRY.unpack_from(buffer, at)
        for name, word in zip(("eax", "ebx", "ecx", "edx"), words, strict=True):
            if word:
                registers[Register("cpuid", function, index, name)] = word
    return CPUData(MappingProxyType(registers))


def _refused(what: str, exc: OSError) -> UnreadableHardware:
    return UnreadableHardware(f"KVM does not give {what}: {exc.strerror or exc}")
