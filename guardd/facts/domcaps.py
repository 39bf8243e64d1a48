"""Domain capabilities XML to what one emulator can give with one machine and virt type."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from guardd.cpu.definition import Arch, CPUDef, CPUType, Mode
from guardd.cpu.xml import cpu_from_element
from guardd.errors import InvalidCapabilities
from guardd.xmldoc import Element, read_xml, string_value


class Usable(StrEnum):
    """model/@usable: whether QEMU can give all of the model here."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


class ModelSupport(NamedTuple):
    """What QEMU says of one CPU model; `blockers` is None where this libvirt does not tell."""

    usable: Usable
    blockers: tuple[str, ...] | None = None


class HypervisorKey(NamedTuple):
    """What tells hypervisors apart; None stands for libvirt's default."""

    virt_type: str
    arch: Arch
    machine: str | None = None
    emulator: str | None = None


class Hypervisor(NamedTuple):
    """What guests of one virt type, arch, machine and emulator can be given.

    `host_model` is the CPU that mode host-model stands for, as a guest definition: all features
    that the hypervisor can give, in libvirt's words; None where it has none. `models` are the
    names that mode custom takes. `modes` are the supported ones.
    """

    virt_type: str
    arch: Arch
    machine: str
    emulator: str
    modes: frozenset[Mode] = frozenset()
    host_model: CPUDef | None = None
    models: Mapping[str, ModelSupport] = MappingProxyType({})

    def __hash__(self) -> int:
        """Hash its name; the rest has mappings, which have no hash."""
        return hash(self.key)

    @property
    def key(self) -> HypervisorKey:
        """Name it by its virt type, arch, canonical machine and emulator."""
        return HypervisorKey(self.virt_type, self.arch, self.machine, self.emulator)


def parse_domcaps(text: str | bytes) -> Hypervisor:
    """Read a domain capabilities document; raises MalformedXML, InvalidCapabilities, InvalidCPU."""
    root = read_xml(text, what="domain capabilities")
    if root.tag != "domainCapabilities":
        raise InvalidCapabilities(f"root element is '{root.tag}', not 'domainCapabilities'")
    words = {}
    for name in ("path", "domain", "machine", "arch"):
        element = root.find(name)
        words[name] = "" if element is None else string_value(element)
    if not words["domain"] or words["arch"] not in list(Arch):
        raise InvalidCapabilities("domain capabilities without a known domain type and arch")
    modes = {
        Mode(element.get("name", "")): element
        for element in root.findall("cpu/mode[@supported='yes']")
        if element.get("name") in list(Mode)
    }
    return Hypervisor(
        virt_type=words["domain"],
        arch=Arch(words["arch"]),
        machine=words["machine"],
        emulator=words["path"],
        modes=frozenset(modes),
        host_model=_host_model(modes.get(Mode.HOST_MODEL)),
        models=MappingProxyType(_models(modes.get(Mode.CUSTOM))),
    )


def _host_model(mode: Element | None) -> CPUDef | None:
    if mode is None or mode.find("model") is None:
        return None
    # libvirt's own rule for this element: take it for a guest's custom CPU (spec cpu-x86, 3.2)
    mode.tag = "cpu"
    mode.attrib.clear()
    return cpu_from_element(mode, CPUType.GUEST)


def _models(mode: Element | None) -> dict[str, ModelSupport]:
    if mode is None:
        return {}
    blockers = {
        element.get("model", ""): tuple(f.get("name", "") for f in element.findall("feature"))
        for element in mode.findall("blockers")
    }
    models = {}
    for element in mode.findall("model"):
        name, usable = string_value(element), _usable(element.get("usable"))
        told = () if usable is Usable.YES else blockers.get(name)
        models[name] = ModelSupport(usable=usable, blockers=told)
    return models


def _usable(word: str | None) -> Usable:
    return Usable(word) if word in list(Usable) else Usable.UNKNOWN
