"""The exact model of a PowerPC host, which libvirt does not tell."""

from __future__ import annotations

import os

from guardd.cpu import CPUMap
from guardd.cpu.families import PPC64
from guardd.errors import GuardError
from guardd.probe.hardware import read_hardware


def read_revision(cpu_map: CPUMap) -> str | None:
    """Give this host's model by all of its PVR; None on other hosts, or where it is unreadable."""
    if os.uname().machine not in PPC64:
        return None
    try:
        return read_hardware(cpu_map).revision
    except GuardError:
        return None
