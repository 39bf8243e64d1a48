"""The arm part of the CPU map: models by part number (spec cpu-other-arches, arm)."""

from __future__ import annotations

import re
from typing import NamedTuple

from guardd.cpu.map import ReadFile, read_map, read_vendor
from guardd.errors import BrokenMap
from guardd.xmldoc import Element

_HEX = re.compile(r"(?:0[xX])?([0-9a-fA-F]{1,8})")


class Model(NamedTuple):
    """A CPU model: its vendor and the part number in MIDR_EL1."""

    name: str
    vendor: str | None
    part: int


class ArmMap:
    """Vendors by name with their codes, features, models; filled while the map is read."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.vendors: dict[str, int] = {}
        self.features: dict[str, None] = {}
        self.models: dict[str, Model] = {}

    def add(self, kind: str, name: str, element: Element) -> None:
        """Take one element of the map (see `guardd.cpu.map.read_map`); raises BrokenMap."""
        match kind:
            case "vendor":
                self._add_vendor(name, element)
            case "feature":
                if name in self.features:
                    raise BrokenMap(f"CPU feature {name} already defined")
                self.features[name] = None
            case _:
                self._add_model(name, element)

    def _add_vendor(self, name: str, element: Element) -> None:
        if name in self.vendors:
            raise BrokenMap(f"CPU vendor {name} already defined")
        value = _value(element, f"CPU vendor {name}")
        if value in self.vendors.values():
            raise BrokenMap(f"CPU vendor value 0x{value:02x} already defined")
        self.vendors[name] = value

    def _add_model(self, name: str, element: Element) -> None:
        if name in self.models:
            raise BrokenMap(f"CPU model {name} already defined")
        vendor = read_vendor(element, name, self.vendors)
        pvr = element.find("pvr")
        if pvr is None:
            raise BrokenMap(f"Missing PVR information for CPU model {name}")
        self.models[name] = Model(name=name, vendor=vendor, part=_value(pvr, f"CPU model {name}"))


def load(read: ReadFile) -> ArmMap:
    """Read the arm section of the CPU map through *read*; raises BrokenMap."""
    arm = ArmMap()
    read_map(read, "arm", arm.add)
    return arm


def _value(element: Element, owner: str) -> int:
    found = _HEX.fullmatch(element.get("value", ""))
    if found is None:
        raise BrokenMap(f"Missing or invalid {element.tag} value in {owner}")
    return int(found[1], 16)
