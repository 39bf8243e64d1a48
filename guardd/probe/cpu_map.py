"""The CPU map that the installed libvirt uses; it is read, never copied."""

from __future__ import annotations

from pathlib import Path

from guardd.cpu import CPUMap, load_map

DIRECTORY = Path("/usr/share/libvirt/cpu_map")


def read_cpu_map(directory: Path = DIRECTORY) -> CPUMap:
    """Load the CPU map below *directory*; a part that is broken raises only when it is used."""
    return load_map(lambda name: (directory / name).read_bytes())
