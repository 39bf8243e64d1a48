"""Which CPUID leaves an x86 core has, and their values (spec cpu-x86, section 7.1)."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from guardd.cpu.x86.data import CPUData, Register
from guardd.errors import UnreadableHardware
from guardd.probe.devices import Hint, opened

BASIC = 0x0
EXTENDED = 0x80000000

# The newest processors have some 40 basic and 40 extended leaves and 64 sub-leaves at most. What
# says more is no CPUID, and must not keep us busy.
MAX_LEAVES = 0x100
MAX_SUBLEAVES = 64

_SGX = 1 << 2  # leaf 7, EBX
_REGISTER_BITS = 32
_HINT = Hint("load the kernel's module: modprobe cpuid", "only root may read it")
_VALUE = struct.Struct("<4I")


class Leaf(NamedTuple):
    """The four registers that CPUID gives."""

    eax: int
    ebx: int
    ecx: int
    edx: int


# takes EAX and ECX; raises UnreadableHardware
ReadLeaf = Callable[[int, int], Leaf]


@contextmanager
def open_cpuid(path: Path) -> Iterator[ReadLeaf]:
    """Open a core's device of the kernel's cpuid module; raises UnreadableHardware."""
    with opened(path, os.O_RDONLY, _HINT) as fd:

        def read(leaf: int, subleaf: int) -> Leaf:
            # Linux, arch/x86/kernel/cpuid.c: the position holds both inputs
            try:
                value = os.pread(fd, _VALUE.size, subleaf << 32 | leaf)
            except OSError as exc:
                raise UnreadableHardware(f"cannot read {path}: {exc.strerror}") from exc
            if len(value) != _VALUE.size:
                raise UnreadableHardware(f"cannot read {path}: {len(value)} bytes for leaf {leaf}")
            return Leaf(*_VALUE.unpack(value))

        yield read


def read_leaves(read: ReadLeaf) -> CPUData:
    """Read all that libvirt reads of one core; what *read* raises is passed on."""
    registers: dict[Register, int] = {}
    for base in (BASIC, EXTENDED):
        highest = min(read(base, 0).eax, base + MAX_LEAVES - 1)
        for leaf in range(base, highest + 1):
            for subleaf, value in _values(read, leaf):
                for name, word in value._asdict().items():
                    if word:
                        registers[Register("cpuid", leaf, subleaf, name)] = word
    return CPUData(MappingProxyType(registers))


def _values(read: ReadLeaf, leaf: int) -> Iterator[tuple[int, Leaf]]:
    """Give the sub-leaves that *leaf* has."""
    match leaf:
        case 0x4:
            return _until(read, leaf, lambda value: not value.eax & 0x1F)
        case 0xB:
            return _while(read, leaf, lambda value: bool(value.ecx & 0xFF00), start=0)
        case 0x7 | 0x14 | 0x17:
            return _counted(read, leaf, at_least=3 if leaf == 0x17 else 0)  # noqa: PLR2004 (a leaf)
        case 0xD:
            return _extended_states(read)
        case 0xF:
            return _monitored(read, leaf, read(leaf, 0).edx)
        case 0x10:
            return _monitored(read, leaf, read(leaf, 0).ebx)
        case 0x12:
            return _enclaves(read)
        case _:
            return iter([(0, read(leaf, 0))])


def _until(
    read: ReadLeaf, leaf: int, is_last: Callable[[Leaf], bool]
) -> Iterator[tuple[int, Leaf]]:
    """Give sub-leaves up to the terminating one, which counts."""
    for subleaf in range(MAX_SUBLEAVES):
        value = read(leaf, subleaf)
        yield subleaf, value
        if is_last(value):
            return


def _while(
    read: ReadLeaf, leaf: int, is_valid: Callable[[Leaf], bool], *, start: int
) -> Iterator[tuple[int, Leaf]]:
    """Give sub-leaves from *start* up to the terminating one, which does not count."""
    for subleaf in range(start, MAX_SUBLEAVES):
        value = read(leaf, subleaf)
        if not is_valid(value):
            return
        yield subleaf, value


def _counted(read: ReadLeaf, leaf: int, *, at_least: int) -> Iterator[tuple[int, Leaf]]:
    """Give sub-leaf 0 and as many as its EAX says; none where that is too few."""
    first = read(leaf, 0)
    if first.eax < at_least:
        return
    yield 0, first
    for subleaf in range(1, min(first.eax, MAX_SUBLEAVES - 1) + 1):
        yield subleaf, read(leaf, subleaf)


def _extended_states(read: ReadLeaf) -> Iterator[tuple[int, Leaf]]:
    first, second = read(0xD, 0), read(0xD, 1)
    yield 0, first
    yield 1, second
    # user states in leaf 0, supervisor states in leaf 1
    states = first.eax | second.ecx | (first.edx | second.edx) << _REGISTER_BITS
    for subleaf in range(2, MAX_SUBLEAVES):
        if states >> subleaf & 1:
            yield subleaf, read(0xD, subleaf)


def _monitored(read: ReadLeaf, leaf: int, resources: int) -> Iterator[tuple[int, Leaf]]:
    yield 0, read(leaf, 0)
    for subleaf in range(1, _REGISTER_BITS):
        if resources >> subleaf & 1:
            yield subleaf, read(leaf, subleaf)


def _enclaves(read: ReadLeaf) -> Iterator[tuple[int, Leaf]]:
    if not read(0x7, 0).ebx & _SGX:
        return
    yield 0, read(0x12, 0)
    yield 1, read(0x12, 1)
    yield from _while(read, 0x12, lambda value: bool(value.eax & 0xF), start=2)
