"""The CPU map that the installed libvirt uses; it is read, never copied."""

from __future__ import annotations

from pathlib import Path

from guardd.cpu import CPUMap

DIRECTORY = Path("/usr/share/libvirt/cpu_map")


def read_cpu_map(directory: Path = DIRECTORY) -> CPUMap:
    """Load the CPU map below *directory*; a part that is broken raises only when it is used."""
    return open_cpu_map(directory).load()


def open_cpu_map(directory: Path = DIRECTORY) -> CPUMap:
    """Give the CPU map below *directory*; a part is loaded when it is first used."""
    return CPUMap(lambda name: (directory / name).read_bytes())
