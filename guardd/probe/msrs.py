"""Which MSRs of x86 hold features, and their values (spec cpu-x86, section 7.2)."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from guardd.cpu.attributes import UINT_MAX
from guardd.cpu.x86.data import CPUData, Register
from guardd.cpu.x86.features import MSR_ENUMERATED_BY
from guardd.cpu.x86.map import X86Map
from guardd.errors import UnreadableHardware
from guardd.probe.devices import Hint, opened

# takes the MSR's index; None: the processor does not have it; raises UnreadableHardware
ReadMSR = Callable[[int], int | None]

# VMX controls: the low half says what must be 1, the high half what may be 1 (Intel SDM vol. 3,
# A.3). QEMU, and so the map, knows a feature by its bit in what may be 1 and need not, and has it
# in the low half (spec cpu-x86, section 7.2).
_VMX_CONTROLS = frozenset({0x48B, 0x48D, 0x48E, 0x48F, 0x490})
_HALF_BITS = 32

_HINT = Hint("load the kernel's module: modprobe msr", "only root may read it")
_VALUE = struct.Struct("<Q")


@contextmanager
def open_msr(path: Path) -> Iterator[ReadMSR]:
    """Open a core's device of the kernel's msr module; raises UnreadableHardware."""
    with opened(path, os.O_RDONLY, _HINT) as fd:

        def read(index: int) -> int | None:
            try:
                value = os.pread(fd, _VALUE.size, index)
            except OSError as exc:
                if isinstance(exc, PermissionError):  # Secure Boot's lockdown
                    raise UnreadableHardware(f"cannot read {path}: {exc.strerror}") from exc
                return None  # EIO: the processor refused
            return int(_VALUE.unpack(value)[0]) if len(value) == _VALUE.size else None

        yield read


def wanted_msrs(x86: X86Map, data: CPUData) -> tuple[int, ...]:
    """Number the MSRs with features of the map that a processor with *data* has, in map order.

    An MSR counts where CPUID announces it, as in libvirt 9.0.0. 11.3.0 tries them all, and where
    the kernel's msr module is not loaded it then takes those that KVM emulates for the host's:
    an AMD host without arch-capabilities shows rdctl-no there.
    """
    bits = x86.bits(data)
    indexes = dict.fromkeys(r.leaf for r in x86.positions if r.source == "msr")
    announced = {index for index, name in MSR_ENUMERATED_BY.items() if bits & x86.union([name])}
    return tuple(index for index in indexes if index in announced)


def with_msrs(data: CPUData, values: dict[int, int]) -> CPUData:
    """Give *data* with MSRs; VMX controls in the form in which the map knows their features.

    There libvirt 11.3.0 takes the raw halves for features, which are none.
    """
    registers = dict(data.registers)
    for index, raw in values.items():
        may_be_set = raw >> _HALF_BITS & ~raw & UINT_MAX
        value = may_be_set if index in _VMX_CONTROLS else raw
        for name, half in (("eax", value & UINT_MAX), ("edx", value >> _HALF_BITS)):
            if half:
                registers[Register("msr", index, 0, name)] = half
    return CPUData(MappingProxyType(registers))
