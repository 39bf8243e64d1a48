"""The CPU map as a whole: a part for each driver."""

from __future__ import annotations

from typing import Any

from guardd.cpu.definition import Arch
from guardd.cpu.driver import Driver
from guardd.cpu.families import driver_for, drivers
from guardd.cpu.map import ReadFile
from guardd.cpu.ppc64 import PVRMatch
from guardd.errors import BrokenMap


class CPUMap:
    """Each driver's part of the CPU map, loaded when it is first asked for.

    One is equal to itself only: maps are large, and each is loaded once.
    """

    def __init__(self, read: ReadFile) -> None:
        """Take the function that takes a file name in the map's folder and gives bytes.

        A part that is broken is remembered as such and does not touch the others.
        """
        self._read = read
        self._pvr = PVRMatch.FAMILY
        self._parts: dict[str, object] = {}  # by the driver's name; or why it could not be read

    def part(self, driver: Driver[Any, Any]) -> Any:  # noqa: ANN401 (each driver has its own)
        """Give what *driver* loads; raises the BrokenMap of that load, each time anew."""
        part = self._loaded(driver)
        if isinstance(part, BrokenMap):
            raise BrokenMap(str(part))
        return part

    def load(self) -> CPUMap:
        """Load all parts, so that no answer has to read a file; give the map."""
        for driver in drivers():
            self._loaded(driver)
        return self

    def matching(self, pvr: PVRMatch) -> CPUMap:
        """Give a map that is the same but for *pvr*, see `match_pvr`."""
        if pvr is self._pvr:
            return self
        driver = driver_for(Arch.PPC64)
        part = self._loaded(driver)
        other = CPUMap(self._read)
        other._pvr, other._parts = pvr, dict(self._parts)
        if not isinstance(part, BrokenMap):
            other._parts[driver.name] = part.with_pvr(pvr)
        return other

    def _loaded(self, driver: Driver[Any, Any]) -> Any:  # noqa: ANN401 (each driver has its own)
        if driver.name not in self._parts:
            try:
                self._parts[driver.name] = driver.load(self._read)
            except BrokenMap as exc:
                self._parts[driver.name] = exc
        return self._parts[driver.name]


def match_pvr(cpu_map: CPUMap, pvr: PVRMatch) -> CPUMap:
    """Give *cpu_map* with PowerPC processors told apart by their family, or by all of their PVR.

    A map that was loaded goes by family, as libvirt does. With exact PVRs a host's CPU must be one
    that `decode` gave from its PVR: libvirt's own capabilities name only the family.
    """
    return cpu_map.matching(PVRMatch(pvr))
