"""The ppc64 part of the CPU map: models by processor version (spec cpu-ppc64, section 1)."""

from __future__ import annotations

import re
from typing import NamedTuple

from guardd.cpu.map import ReadFile, read_map, read_vendor
from guardd.cpu.ppc64 import PVRMatch
from guardd.errors import BrokenMap
from guardd.xmldoc import Element

_HEX = re.compile(r"(?:0[xX])?([0-9a-fA-F]{1,8})")


class PVR(NamedTuple):
    """A family of processor versions: those with `(pvr & mask) == value`, 32 bits each."""

    value: int
    mask: int

    def includes(self, pvr: int) -> bool:
        """Whether a processor with *pvr* is one of them."""
        return pvr & self.mask == self.value

    def covers(self, other: PVR) -> bool:
        """Whether every processor of *other* is one of them."""
        return other.mask & self.mask == self.mask and self.includes(other.value)


class Model(NamedTuple):
    """A CPU model and the processor versions that are it; libvirt's are families themselves."""

    name: str
    family: str
    vendor: str | None
    pvrs: tuple[PVR, ...]

    def includes(self, other: Model) -> bool:
        """Whether every processor that is *other* is this model as well."""
        return all(any(own.covers(each) for own in self.pvrs) for each in other.pvrs)


class PPC64Map:
    """Vendors and models in map order; filled while the map is read, then only read.

    `pvr`: whether the models here, libvirt's, are all there are, or `guardd.cpu.ppc64.revision`
    tells their revisions apart.
    """

    def __init__(self) -> None:
        """Begin with nothing, by family."""
        self.vendors: set[str] = set()
        self.models: dict[str, Model] = {}
        self.pvr = PVRMatch.FAMILY

    def with_pvr(self, pvr: PVRMatch) -> PPC64Map:
        """Give the same vendors and models, told apart by *pvr*."""
        other = PPC64Map()
        other.vendors, other.models, other.pvr = self.vendors, self.models, pvr
        return other

    def add(self, kind: str, name: str, element: Element) -> None:
        """Take one element of the map (see `guardd.cpu.map.read_map`); raises BrokenMap."""
        match kind:
            case "vendor":
                if name in self.vendors:
                    raise BrokenMap(f"CPU vendor {name} already defined")
                self.vendors.add(name)
            case "model":
                self._add_model(name, element)
            case _:
                raise BrokenMap(f"Unexpected element '{kind}'")

    def _add_model(self, name: str, element: Element) -> None:
        if name in self.models:
            raise BrokenMap(f"CPU model {name} already defined")
        vendor = read_vendor(element, name, self.vendors)
        pvrs = tuple(_pvr(name, child) for child in element.findall("pvr"))
        if not pvrs:
            raise BrokenMap(f"Missing PVR information for CPU model {name}")
        self.models[name] = Model(name=name, family=name, vendor=vendor, pvrs=pvrs)


def load(read: ReadFile) -> PPC64Map:
    """Read the ppc64 section of the CPU map through *read*; raises BrokenMap."""
    ppc64 = PPC64Map()
    read_map(read, "ppc64", ppc64.add)
    return ppc64


def _pvr(model: str, element: Element) -> PVR:
    numbers = []
    for name in ("value", "mask"):
        found = _HEX.fullmatch(element.get(name, ""))
        if found is None:
            raise BrokenMap(f"Missing or invalid PVR {name} in CPU model {model}")
        numbers.append(int(found[1], 16))
    return PVR(*numbers)
