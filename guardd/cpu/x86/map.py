"""The x86 part of the CPU map: features as bits of one integer, vendors, models.

Source: spec cpu-x86, sections 1.2-1.4 (elements) and 2 (the bit set that stands for CPU data).
"""

from collections.abc import Iterable
from types import MappingProxyType
from typing import NamedTuple

from guardd.cpu.attributes import UINT_MAX, parse_unsigned
from guardd.cpu.definition import Signature
from guardd.cpu.map import ReadFile, read_map, read_vendor
from guardd.cpu.x86.data import SIGNATURE, VENDOR, CPUData, read_items
from guardd.cpu.x86.internal import INTERNAL
from guardd.errors import BrokenMap, InvalidCPUData, UnknownFeature, UnknownModel
from guardd.xmldoc import Element

VENDOR_STRING_LENGTH = 12
REGISTER_BITS = 32
STEPPINGS = range(16)
MAX_NAMED = 256


class Vendor(NamedTuple):
    """A vendor and the bits that CPUID leaf 0 has for it."""

    name: str
    bits: int


class Feature(NamedTuple):
    """A feature's bits, and whether a guest that has it can be migrated.

    `aliases`: its names elsewhere, as (name, source); "linux" is /proc/cpuinfo.
    """

    name: str
    bits: int
    migratable: bool = True
    aliases: tuple[tuple[str, str], ...] = ()


class ModelSignature(NamedTuple):
    """Family and model; `steppings` empty: any."""

    family: int
    model: int
    steppings: frozenset[int] = frozenset()

    def matches(self, signature: Signature) -> bool:
        """Whether a CPU with *signature* is of this model."""
        if (self.family, self.model) != (signature.family, signature.model):
            return False
        return not self.steppings or signature.stepping in self.steppings


class Model(NamedTuple):
    """A CPU model: the bits of its features and what else the map says of it.

    `removed`: features that QEMU once had in this model and no longer has; they are not in `bits`.
    `added`: features that QEMU put in later; not in `bits` either. `compat_check`: libvirt's
    check='partial' compares with the host instead of asking QEMU for the model's blockers.
    """

    name: str
    bits: int = 0
    vendor: str | None = None
    signatures: tuple[ModelSignature, ...] = ()
    decode_host: bool = False
    decode_guest: bool = False
    compat_check: bool = False
    removed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()


# registers that count even where no feature of the map uses them
_RESERVED = {
    register: number * REGISTER_BITS
    for number, register in enumerate(
        dict.fromkeys([SIGNATURE, *VENDOR, *(register for register, _ in INTERNAL.values())])
    )
}
_INTERNAL_FEATURES = {
    name: Feature(name=name, bits=value << _RESERVED[register])
    for name, (register, value) in INTERNAL.items()
}


class X86Map:
    """Vendors, features and models in map order; filled while the map is read, then only read.

    `positions`: the number of each register's bit 0 in the integers of this map. `has_checks`:
    some model of it has `compat_check`.
    """

    def __init__(self) -> None:
        """Begin with the registers that always count, and nothing else."""
        self.vendors: dict[str, Vendor] = {}
        self.features: dict[str, Feature] = {}
        self.models: dict[str, Model] = {}
        self.canonical: dict[str, str] = {}
        self.positions = _RESERVED.copy()
        self.has_checks = False
        # what `names` was asked for: a host is asked for the same few again and again
        self._named: dict[int, tuple[str, ...]] = {}

    def model(self, name: str) -> Model:
        """Give the model called *name*; raises UnknownModel."""
        try:
            return self.models[name]
        except KeyError:
            raise UnknownModel(f"Unknown CPU model {name}") from None

    def feature(self, name: str) -> Feature:
        """Give the feature called *name* (aliases do not count); raises UnknownFeature."""
        try:
            return self.features[name]
        except KeyError:
            raise unknown_feature(name) from None

    def names(self, bits: int) -> tuple[str, ...]:
        """Name the features whose bits are all in *bits*, in map order."""
        if not bits:
            return ()
        names = self._named.get(bits)
        if names is None:
            names = tuple([f.name for f in self.features.values() if f.bits & bits == f.bits])
            if len(self._named) >= MAX_NAMED:
                self._named.clear()
            self._named[bits] = names
        return names

    def union(self, names: Iterable[str]) -> int:
        """Give the bits of the features called *names*; unknown names are left out."""
        bits = 0
        for name in names:
            if name in self.features:
                bits |= self.features[name].bits
        return bits

    def take(self, bits: int) -> tuple[str, ...]:
        """Name the features in *bits*, in map order, each without the bits of those before it."""
        names = []
        for feature in self.features.values():
            if not bits:
                break
            if feature.bits & bits == feature.bits:
                names.append(feature.name)
                bits &= ~feature.bits
        return tuple(names)

    def any_feature(self, name: str) -> Feature:
        """Give the map's or the internal feature called *name*; raises UnknownFeature."""
        feature = self.features.get(name) or _INTERNAL_FEATURES.get(name)
        if feature is None:
            raise UnknownFeature(f"unknown CPU feature {name}")
        return feature

    def vendor(self, bits: int) -> Vendor | None:
        """Give the first vendor all of whose bits are in *bits*, if any."""
        return next((v for v in self.vendors.values() if v.bits & bits == v.bits), None)

    def bits(self, data: CPUData) -> int:
        """Give the bits of *data* in the registers of this map; others are left out."""
        bits = 0
        for register, value in data.registers.items():
            position = self.positions.get(register)
            if position is not None:
                bits |= value << position
        return bits

    def data(self, bits: int) -> CPUData:
        """Give the CPU data that *bits* stand for."""
        values = {r: bits >> position & UINT_MAX for r, position in self.positions.items()}
        return CPUData(MappingProxyType({r: value for r, value in values.items() if value}))

    def add(self, kind: str, name: str, element: Element) -> None:
        """Take one element of the map (see `guardd.cpu.map.read_map`); raises BrokenMap."""
        match kind:
            case "vendor":
                self._add_vendor(name, element)
            case "feature":
                self._add_feature(name, element)
            case _:
                self._add_model(name, element)

    def _add_vendor(self, name: str, element: Element) -> None:
        if name in self.vendors:
            raise BrokenMap(f"CPU vendor {name} already defined")
        string = element.get("string")
        if not string:
            raise BrokenMap(f"Missing vendor string for CPU vendor {name}")
        if len(string.encode()) != VENDOR_STRING_LENGTH:
            raise BrokenMap(f"Invalid CPU vendor string '{string}'")
        text = string.encode()
        words = (int.from_bytes(text[at : at + 4], "little") for at in range(0, len(text), 4))
        bits = self.bits(CPUData(dict(zip(VENDOR, words, strict=True))))
        self.vendors[name] = Vendor(name=name, bits=bits)

    def _add_feature(self, name: str, element: Element) -> None:
        if name in self.features:
            raise BrokenMap(f"CPU feature {name} already defined")
        if not len(element):
            raise BrokenMap(f"no x86 CPU data found for feature {name}")
        try:
            registers = read_items(element)
        except InvalidCPUData as exc:
            raise BrokenMap(f"{exc} of CPU feature {name}") from exc
        for register in registers:
            self.positions.setdefault(register, len(self.positions) * REGISTER_BITS)
        bits = self.bits(CPUData(registers))
        migratable = element.get("migratable") != "no"
        aliases = tuple((a.get("name", ""), a.get("source", "")) for a in element.findall("alias"))
        self.features[name] = Feature(name=name, bits=bits, migratable=migratable, aliases=aliases)

    def _add_model(self, name: str, element: Element) -> None:
        if name in self.models:
            raise BrokenMap(f"Multiple definitions of CPU model '{name}'")
        compat_check = _has_compat(name, element)
        self.has_checks |= compat_check
        decode_host, decode_guest = _decode(name, element)
        ancestor = self._ancestor(name, element)
        bits = ancestor.bits if ancestor else 0
        for removed in ancestor.removed if ancestor else ():
            bits &= ~self.features[removed].bits
        signatures = tuple(_signature(name, child) for child in element.findall("signature"))
        vendor = read_vendor(element, name, self.vendors)
        genuine, removed_names, added_names = self._model_features(name, element)
        self.models[name] = Model(
            name=name,
            bits=bits | genuine,
            vendor=vendor or (ancestor.vendor if ancestor else None),
            signatures=signatures or (ancestor.signatures if ancestor else ()),
            decode_host=decode_host,
            decode_guest=decode_guest,
            compat_check=compat_check,
            removed=removed_names,
            added=added_names,
        )
        if ancestor and not (signatures or vendor or element.findall("feature")):
            if ancestor.name in self.canonical:
                raise BrokenMap(f"CPU model {ancestor.name} has two canonical names, one is {name}")
            self.canonical[ancestor.name] = name

    def _ancestor(self, name: str, element: Element) -> Model | None:
        child = element.find("model")
        if child is None:
            return None
        ancestor = child.get("name")
        if not ancestor:
            raise BrokenMap(f"Missing ancestor's name in CPU model {name}")
        if ancestor not in self.models:
            raise BrokenMap(f"Ancestor model {ancestor} not found for CPU model {name}")
        return self.models[ancestor]

    def _model_features(
        self, name: str, element: Element
    ) -> tuple[int, tuple[str, ...], tuple[str, ...]]:
        bits, removed, added = 0, [], []
        for child in element.findall("feature"):
            feature = child.get("name")
            if not feature:
                raise BrokenMap(f"Missing feature name for CPU model {name}")
            known = self.features.get(feature)
            if known is None:
                raise BrokenMap(f"Feature {feature} required by CPU model {name} not found")
            if len(child.attrib) == 1:  # nearly all of thousands
                bits |= known.bits
            elif _yes(name, child, "removed"):
                removed.append(feature)
            elif _yes(name, child, "added"):
                added.append(feature)
            else:
                bits |= known.bits
        return bits, tuple(removed), tuple(added)


def unknown_feature(name: str) -> UnknownFeature:
    """Give the error for the name of a feature that the map does not have."""
    return UnknownFeature(f"Unknown CPU feature {name}")


def load(read: ReadFile) -> X86Map:
    """Read the x86 section of the CPU map through *read*; raises BrokenMap."""
    x86 = X86Map()
    read_map(read, "x86", x86.add)
    return x86


def asks_qemu(x86: X86Map) -> bool:
    """Whether the libvirt of this map may ask QEMU instead of comparing (spec cpu-x86, 4.1).

    A map without a single <check> is of a libvirt that always compares.
    """
    return x86.has_checks


def compat_check(x86: X86Map, model: str) -> bool:
    """Whether check='partial' of *model* compares with the host (spec cpu-x86, 4.1).

    Raises UnknownModel.
    """
    return x86.model(model).compat_check or not asks_qemu(x86)


def _has_compat(name: str, element: Element) -> bool:
    check = element.find("check")
    if check is None:
        return False
    partial = check.get("partial")
    if partial is None:
        raise BrokenMap(f"Missing check/@partial in CPU model {name}")
    if partial != "compat":
        raise BrokenMap(f"Invalid check/@partial value '{partial}' in CPU model {name}")
    return True


def _decode(name: str, element: Element) -> tuple[bool, bool]:
    decode = element.find("decode")
    if decode is None:
        raise BrokenMap(f"missing decode element in CPU model {name}")
    words = decode.get("host"), decode.get("guest")
    if not all(word in ("on", "off") for word in words):
        raise BrokenMap(f"Invalid decode element in CPU model {name}")
    return words[0] == "on", words[1] == "on"


def _signature(name: str, element: Element) -> ModelSignature:
    family, model = (_decimal(element.get(word)) for word in ("family", "model"))
    if not family:
        raise BrokenMap(f"Invalid CPU signature family in model {name}")
    if model is None:
        raise BrokenMap(f"Invalid CPU signature model in model {name}")
    steppings = element.get("stepping")
    return ModelSignature(
        family=family,
        model=model,
        steppings=frozenset() if steppings is None else _steppings(steppings),
    )


def _steppings(text: str) -> frozenset[int]:
    """Read libvirt's bitmap text: numbers and ranges, `^n` takes one out again."""
    steppings: set[int] = set()
    for part in text.split(","):
        negated = part.strip().startswith("^")
        first, dash, last = part.strip().removeprefix("^").partition("-")
        low = _decimal(first)
        high = _decimal(last) if dash else low
        if low is None or high is None or low > high or high not in STEPPINGS:
            raise BrokenMap(f"Failed to parse bitmap '{text}'")
        if negated:
            steppings.discard(low)
        else:
            steppings.update(range(low, high + 1))
    return frozenset(steppings)


def _yes(model: str, element: Element, attribute: str) -> bool:
    value = element.get(attribute)
    if value is None:
        return False
    if value not in ("yes", "no"):
        raise BrokenMap(f"Invalid '{attribute}' value '{value}' in CPU model {model}")
    return value == "yes"


def _decimal(text: str | None) -> int | None:
    return None if text is None else parse_unsigned(text)
