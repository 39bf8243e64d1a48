"""The CPU driver for PowerPC: models by PVR, no features (spec cpu-ppc64)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from guardd.cpu.definition import Arch, CPUDef, CPUType, Mode
from guardd.cpu.driver import CompareResult, Comparison, Difference, Driver
from guardd.cpu.map import ReadFile, read_map
from guardd.errors import BrokenMap, NoModel, UnknownCompat, UnknownModel
from guardd.xmldoc import Element

ARCHS = frozenset({Arch.PPC64, Arch.PPC64LE})
COMPAT_GENERATIONS = range(6, 11)

# spec cpu-ppc64, section 4: exactly these four, by exact spelling
LEGACY_NAMES = {
    "POWER7_v2.1": "POWER7",
    "POWER7_v2.3": "POWER7",
    "POWER7+_v2.1": "POWER7",
    "POWER8_v1.0": "POWER8",
}

_HEX = re.compile(r"(?:0[xX])?([0-9a-fA-F]{1,8})")
# what C's strtol takes for a decimal number: blanks and a sign may stand before it
_STRTOL = re.compile(r"[ \t\n\v\f\r]*([+-]?[0-9]+)")


@dataclass(frozen=True, slots=True)
class PVR:
    """A family of processor versions: those with `(pvr & mask) == value`, 32 bits each."""

    value: int
    mask: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A CPU model and the processor versions that are it."""

    name: str
    vendor: str | None
    pvrs: tuple[PVR, ...]


@dataclass(slots=True)
class PPC64Map:
    """Vendors and models in map order; filled while the map is read, then only read."""

    vendors: set[str] = field(default_factory=set)
    models: dict[str, Model] = field(default_factory=dict)

    def model(self, name: str | None) -> Model:
        """Give the model called *name*; raises NoModel or UnknownModel."""
        if name is None:
            raise NoModel("no CPU model specified")
        try:
            return self.models[name]
        except KeyError:
            raise UnknownModel(f"Unknown CPU model {name}") from None

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
        vendor = None
        if (child := element.find("vendor")) is not None:
            vendor = child.get("name")
            if not vendor:
                raise BrokenMap(f"Invalid vendor element in CPU model {name}")
            if vendor not in self.vendors:
                raise BrokenMap(f"Unknown vendor {vendor} referenced by CPU model {name}")
        pvrs = tuple(_pvr(name, child) for child in element.findall("pvr"))
        if not pvrs:
            raise BrokenMap(f"Missing PVR information for CPU model {name}")
        self.models[name] = Model(name=name, vendor=vendor, pvrs=pvrs)


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


def convert_legacy(cpu: CPUDef) -> CPUDef:
    """Give *cpu* with the name its model has today; others stay as they are."""
    today = LEGACY_NAMES.get(cpu.model or "")
    return cpu if today is None else replace(cpu, model=today)


def compare(ppc64: PPC64Map, host: CPUDef, cpu: CPUDef) -> Comparison:
    """Say whether *host* can run *cpu*: by name, or by generation for a compatibility mode.

    Spec cpu-ppc64, section 3. Match and features are not looked at, and a host is never a
    superset. Raises UnknownModel, NoModel or UnknownCompat.
    """
    if host.model is None:
        return Comparison.incompatible(Difference.UNKNOWN_HOST)
    cpu = convert_legacy(cpu)
    if cpu.arch is not None and cpu.arch not in ARCHS:
        return Comparison.incompatible(Difference.ARCH, cpu.arch)
    if cpu.vendor is not None and cpu.vendor != host.vendor:
        return Comparison.incompatible(Difference.VENDOR, cpu.vendor)

    host_model = ppc64.model(host.model)
    if cpu.type is CPUType.GUEST and cpu.mode is not Mode.CUSTOM:
        if cpu.mode is Mode.HOST_MODEL and cpu.model is not None:
            return _compare_compat(host_model.name, cpu.model)
        return Comparison(CompareResult.IDENTICAL)
    model = ppc64.model(cpu.model)
    if model.name != host_model.name:
        return Comparison.incompatible(Difference.MODEL, model.name)
    return Comparison(CompareResult.IDENTICAL)


def _compare_compat(host_model: str, compat: str) -> Comparison:
    """Spec cpu-ppc64, section 5; the names are compared as numbers."""
    host = generation(host_model, "POWER")
    if host is None:
        raise UnknownCompat(f"Host CPU {host_model} does not support compatibility modes")
    asked = generation(compat, "power")
    if asked is None:
        raise UnknownCompat(f"Unknown compatibility mode {compat}")
    if asked > host:
        return Comparison.incompatible(Difference.COMPAT, compat)
    return Comparison(CompareResult.IDENTICAL)


def generation(name: str, prefix: str) -> int | None:
    """Read the generation, 6 to 10, off a model ("POWER") or compatibility ("power") name."""
    found = _STRTOL.fullmatch(name.removeprefix(prefix))
    if not name.startswith(prefix) or found is None:
        return None
    number = int(found[1])
    return number if number in COMPAT_GENERATIONS else None


DRIVER: Driver[PPC64Map] = Driver(
    name="ppc64",
    archs=ARCHS,
    load=load,
    compare=compare,
    convert_legacy=convert_legacy,
    models=lambda ppc64: tuple(ppc64.models),
)
