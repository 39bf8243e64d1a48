"""The auxiliary vector: what the kernel tells every program about the processor."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from guardd.probe.devices import read_file

PATH = Path("proc/self/auxv")

# include/uapi/linux/auxvec.h
AT_NULL = 0
AT_PAGESZ = 6
AT_HWCAP = 16
AT_HWCAP2 = 26

_ENTRY = struct.Struct("<QQ")
_MAX_BYTES = 1 << 16


def read_auxv(root: Path) -> Mapping[int, int]:
    """Read the vector of a 64-bit little-endian process; raises UnreadableHardware."""
    return parse_auxv(read_file(root / PATH, _MAX_BYTES))


def parse_auxv(data: bytes) -> Mapping[int, int]:
    """Give values by type; a piece at the end that is no entry is left out."""
    entries: dict[int, int] = {}
    whole = len(data) // _ENTRY.size * _ENTRY.size
    for kind, value in _ENTRY.iter_unpack(data[:whole]):
        if kind == AT_NULL:
            break
        entries[kind] = value
    return MappingProxyType(entries)
