"""/proc/cpuinfo: one block of `key : value` lines for each processor, then the machine's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from guardd.probe.devices import read_text

PATH = Path("proc/cpuinfo")


@dataclass(frozen=True, slots=True)
class CPUInfo:
    """The lines of each processor by its number, and those that belong to none (PowerPC)."""

    processors: Mapping[int, Mapping[str, str]]
    machine: Mapping[str, str]

    @property
    def first(self) -> Mapping[str, str]:
        """The lines of the first processor; empty where there is none."""
        return next(iter(self.processors.values()), MappingProxyType({}))


def read_cpuinfo(root: Path) -> CPUInfo:
    """Read /proc/cpuinfo below *root*; raises UnreadableHardware."""
    return parse_cpuinfo(read_text(root / PATH))


def parse_cpuinfo(text: str) -> CPUInfo:
    """Read what looks like a line and leave out the rest; of a key that comes twice, the first."""
    processors: dict[int, Mapping[str, str]] = {}
    machine: dict[str, str] = {}
    block = machine
    for line in text.split("\n"):
        key, colon, value = line.partition(":")
        key, value = key.strip(), value.strip()
        if not colon:
            if not line.strip():
                block = machine
            continue
        # "Processor : ..." with a capital, of old ARM kernels, is a name and not a number
        if key == "processor" and value.isascii() and value.isdigit() and len(value) < len("1e6x"):
            block = {}
            processors.setdefault(int(value), block)
        block.setdefault(key, value)
    return CPUInfo(MappingProxyType(processors), MappingProxyType(machine))


def number(text: str | None) -> int | None:
    """Read a number as the kernel writes it, 0x for hexadecimal; None where it is none."""
    try:
        return None if text is None else int(text, 0)
    except ValueError:
        return None
